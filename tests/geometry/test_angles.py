"""Principal angles: closed forms at all scales, and the invariances that define them."""

from __future__ import annotations

import math

import pytest
import torch

from lorafold.geometry import principal_angles
from lorafold.geometry.angles import rough_angles

HALF_PI = math.pi / 2

ANGLES = {
    "equal": [0.0, 0.0, 0.0],
    "1e-9": [1e-9, 2e-9, 3e-9],
    "1e-6": [1e-6, 2e-6, 3e-6],
    "1e-3": [1e-3, 2e-3, 3e-3],
    "pi/4": [math.pi / 4] * 3,
    "nearly orthogonal": [HALF_PI - 3e-9, HALF_PI - 2e-9, HALF_PI - 1e-9],
    "orthogonal": [HALF_PI] * 3,
    "repeated": [0.3, 0.3, 1.2],
    "shared direction": [0.0, 0.7, 1.1],
    "all scales": [0.0, 1e-9, 1e-6, 1e-3, math.pi / 4, HALF_PI - 1e-9, HALF_PI],
}


@pytest.mark.parametrize("angles", ANGLES.values(), ids=ANGLES)
def test_known_angles_to_relative_precision(pair_at, angles):
    X, Y = pair_at(angles, 20)
    expected = torch.tensor(angles, dtype=torch.float64)
    torch.testing.assert_close(principal_angles(X, Y), expected, rtol=4e-16, atol=1e-24)


@pytest.mark.parametrize("angles", ANGLES.values(), ids=ANGLES)
def test_known_angles_in_general_position(pair_at, haar, angles):
    X, Y = pair_at(angles, 20)
    rotation, k = haar(20, 20), len(angles)
    theta = principal_angles(rotation @ X @ haar(k, k), rotation @ Y @ haar(k, k))
    torch.testing.assert_close(theta, torch.tensor(angles, dtype=torch.float64), rtol=0, atol=4e-15)


@pytest.mark.parametrize("angles", ANGLES.values(), ids=ANGLES)
def test_known_angles_from_products_alone(pair_at, haar, angles):
    X, Y = pair_at(angles, 20)
    k = len(angles)
    theta = rough_angles(haar(3, k, k).mT @ X.mT @ Y @ haar(3, k, k))
    torch.testing.assert_close(theta, torch.tensor([angles] * 3, dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("n", "k", "other"), [(12, 3, 3), (12, 2, 5), (12, 5, 2), (8, 6, 6), (8, 8, 3), (5, 1, 1)])
def test_symmetric_and_invariant(haar, n, k, other):
    X, Y = haar(4, n, k), haar(4, n, other)
    theta = principal_angles(X, Y)

    assert theta.shape == (4, min(k, other))
    assert (theta.diff() >= 0).all()
    same = {"rtol": 0, "atol": 2e-14}
    torch.testing.assert_close(principal_angles(Y, X), theta, **same)
    torch.testing.assert_close(rough_angles(X.mT @ Y), theta, rtol=0, atol=1e-7)
    rotation = haar(n, n)
    torch.testing.assert_close(principal_angles(rotation @ X, rotation @ Y), theta, **same)
    torch.testing.assert_close(principal_angles(X @ haar(4, k, k), Y @ haar(4, other, other)), theta, **same)
    torch.testing.assert_close(theta.cos(), torch.linalg.svdvals(X.mT @ Y), **same)


def test_subspaces_that_must_meet_do(haar):
    theta = principal_angles(haar(8, 6), haar(8, 6))
    assert (theta[:4] < 1e-14).all()
    assert (theta[4:] > 0.1).all()


def test_leading_dimensions_broadcast(haar):
    X, Y = haar(3, 1, 10, 4), haar(5, 10, 2)
    together = principal_angles(X, Y)
    alone = torch.stack([torch.stack([principal_angles(x[0], y) for y in Y]) for x in X])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-14)


def test_single_precision_frames_of_one_subspace_stay_close(haar):
    X = haar(768, 16)
    theta = principal_angles(X.float(), (X @ haar(16, 16)).float())
    assert theta.dtype == torch.float64
    assert torch.linalg.vector_norm(theta) < 2e-6  # arccos: 9e-4
