"""Gradients of the squared geodesic distance against central differences along geodesics."""

from __future__ import annotations

import math

import pytest
import torch

from lorafold.geometry import distance, expmap, squared_geodesic

PAIRS = {
    "generic": [0.3, 0.8, 1.2],
    "repeated angles": [0.7, 0.7, 0.7],
    "shared direction": [0.0, 0.5, 1.2],
    "equal": [0.0, 0.0, 0.0],
    "near": [1e-6, 2e-6, 3e-6],
    "close to orthogonal": [0.3, 1.0, math.pi / 2 - 0.01],
}


def slope(function, X, U, step=1e-4):
    return (function(expmap(X, step * U)) - function(expmap(X, -step * U))) / (2 * step)


@pytest.mark.parametrize("angles", PAIRS.values(), ids=PAIRS)
def test_gradients_at_named_pairs(pair_at, haar, tangent, angles):
    X, Y = pair_at(angles, 12)
    X, Y = (X @ haar(3, 3)).requires_grad_(), (Y @ haar(3, 3)).requires_grad_()
    squared_geodesic(X, Y).backward()
    for moving, fixed in ((X, Y), (Y, X)):
        at, other = moving.detach(), fixed.detach()
        U = tangent(at, 1.0)
        expected = slope(lambda Z, other=other: distance("geodesic", Z, other).square(), at, U)
        assert float((moving.grad * U).sum()) == pytest.approx(float(expected), abs=2e-7)
        assert (at.mT @ moving.grad).abs().max() < 1e-14  # horizontal


@pytest.mark.parametrize(("k", "other"), [(2, 4), (4, 2)])
def test_gradients_between_dimensions(haar, tangent, k, other):
    X, Y = haar(12, k).requires_grad_(), haar(12, other)
    squared_geodesic(X, Y).backward()
    U = tangent(X.detach(), 1.0)
    expected = slope(lambda Z: distance("geodesic", Z, Y).square(), X.detach(), U)
    assert float((X.grad * U).sum()) == pytest.approx(float(expected), abs=2e-7)


def test_gradients_of_broadcast_frames_add_up(haar):
    X, Y = haar(10, 3).requires_grad_(), haar(4, 10, 3)
    (weights := torch.arange(1.0, 5.0).double()).mul(squared_geodesic(X, Y)).sum().backward()
    alone = X.detach().clone().requires_grad_()
    for weight, y in zip(weights, Y, strict=True):
        (weight * squared_geodesic(alone, y)).backward()
    torch.testing.assert_close(X.grad, alone.grad, rtol=1e-13, atol=1e-13)


def test_single_precision_in_and_out(haar):
    X, Y = haar(10, 3, dtype=torch.float32).requires_grad_(), haar(10, 3, dtype=torch.float32)
    value = squared_geodesic(X, Y)
    value.backward()
    assert value.dtype == X.grad.dtype == torch.float32
