"""karcher: a stationary point of its spread, to rounding; its degenerate cases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.builders import Source
from tests.core_rules.applying import bound

RULE = bound("karcher")


def logarithm(x: Tensor, y: Tensor) -> Tensor:
    """Of unit vectors: the tangent at x that leads to y."""
    theta = math.acos(max(-1.0, min(1.0, float(x @ y))))
    return theta / math.sin(theta) * (y - (x @ y) * x)


@pytest.mark.parametrize("adapters", [2, 3, 8])
@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_the_gradient_vanishes_at_the_mean(adapters, spread):
    """Points from close together to nearly orthogonal ones."""
    s = Source(adapters)
    cores = s.normal(1, 1, 6, 6) + spread * s.normal(1, adapters, 6, 6)
    weights = torch.linspace(0.2, 1.0, adapters, dtype=torch.float64)[None]
    merged = RULE(cores, weights)[0].flatten()
    x, shares = merged / merged.norm(), weights[0] / weights.sum()
    points = cores[0].flatten(1) / cores[0].flatten(1).norm(dim=1, keepdim=True)
    gradient = sum(share * logarithm(x, point) for share, point in zip(shares, points, strict=True))
    assert float(gradient.norm()) < 1e-11
    assert float(merged.norm()) == pytest.approx(float(shares @ cores[0].flatten(1).norm(dim=1)), rel=1e-12)


def test_two_updates_of_one_norm_meet_where_slerp_does():
    cores = Source(3).normal(4, 2, 5, 5)
    cores = cores / torch.linalg.matrix_norm(cores, keepdim=True)
    weights = torch.tensor([0.3, -0.9], dtype=torch.float64).expand(4, 2)
    torch.testing.assert_close(RULE(cores, weights), bound("slerp")(cores, weights), rtol=0, atol=1e-11)


X = Source(4).normal(5, 5)
DEGENERATE = {
    "equal": ([X, X, X], [1.0, 2.0, 3.0], X),
    "parallel": ([X, 3 * X], [0.5, 0.5], 2 * X),
    "opposite at equal weights": ([X, -X], [0.5, 0.5], 0 * X),
    "opposite by a weight": ([X, X], [0.5, -0.5], 0 * X),
    "opposite at unequal weights": ([X, -X], [0.9, 0.1], X),
    "tiny beside large": ([X, 1e-20 * X], [0.5, 0.5], 0.5 * X),
    "one": ([X], [1.0], X),
    "one and an absent one": ([X, 0 * X], [0.5, 0.5], X),
}


@pytest.mark.parametrize(("cores", "weights", "expected"), DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_cases(cores, weights, expected):
    merged = RULE(torch.stack(cores)[None], torch.tensor([weights], dtype=torch.float64))[0]
    torch.testing.assert_close(merged, expected, rtol=0, atol=1e-12)
