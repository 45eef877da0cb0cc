"""wudi: the minimum of its objective, and the limits of the ridge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from tests.builders import Source
from tests.core_rules.applying import bound

S = Source(9)
CORES = S.normal(1, 3, 6, 6) @ torch.diag(torch.logspace(0, -2, 6, dtype=torch.float64))
WEIGHTS = torch.tensor([[0.7, -0.2, 1.5]], dtype=torch.float64)
TERMS = (WEIGHTS[..., None, None] * CORES)[0]


def interference(W: Tensor) -> Tensor:
    """Σ ‖(W - X_i) X_iᵀ‖² / ‖X_i‖²"""
    return sum(((W - X) @ X.T).square().sum() / X.square().sum() for X in TERMS)


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 1.0])
def test_every_displacement_makes_it_worse(ridge):
    def objective(W: Tensor) -> float:
        return float(interference(W) + 3 * ridge * (W - TERMS.sum(0)).square().sum())

    W = bound("wudi", ridge=ridge)(CORES, WEIGHTS)[0]
    for _ in range(20):
        step = S.normal(6, 6)
        slope = (objective(W + 1e-4 * step) - objective(W - 1e-4 * step)) / 2e-4
        curvature = (objective(W + step) + objective(W - step) - 2 * objective(W)) / 2
        assert curvature > 0 and abs(slope) < 1e-6 * max(1.0, curvature)


def test_a_large_ridge_gives_the_weighted_sum():
    torch.testing.assert_close(bound("wudi", ridge=1e12)(CORES, WEIGHTS)[0], TERMS.sum(0), rtol=0, atol=1e-10)


def test_a_small_ridge_gives_the_minimiser_nearest_to_the_sum():
    """Inputs that no adapter has: W = M + (target - M G) G⁺ by the pseudo-inverse of the sum of the Gram matrices."""
    terms = TERMS @ torch.diag(torch.tensor([1.0, 1, 1, 1, 0, 0], dtype=torch.float64))
    grams = [X.T @ X / X.square().sum() for X in terms]
    total, sum_ = torch.stack(grams).sum(0), terms.sum(0)
    target = torch.stack([X @ G for X, G in zip(terms, grams, strict=True)]).sum(0)
    expected = sum_ + (target - sum_ @ total) @ torch.linalg.pinv(total, rtol=1e-10)
    found = bound("wudi", ridge=1e-11)(terms[None], torch.ones(1, 3).double())[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_it_is_the_inputs_that_count():
    """Adapters that read different inputs do not interfere: the sum. Those that write different outputs may."""
    basis = Source(2).haar(6, 6)
    split = torch.stack([basis[:, :3] @ basis[:, :3].T, basis[:, 3:] @ basis[:, 3:].T])
    cores, one = S.normal(2, 6, 6), torch.ones(1, 2).double()
    rule = bound("wudi", ridge=1e-9)
    torch.testing.assert_close(rule((cores @ split)[None], one)[0], (cores @ split).sum(0), rtol=0, atol=1e-6)
    assert not torch.allclose(rule((split @ cores)[None], one)[0], (split @ cores).sum(0), rtol=0, atol=1e-2)


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan"), float("inf")])
def test_other_ridges_are_refused(ridge):
    with pytest.raises(LorafoldError, match=r"core\.ridge=.*expected a number > 0"):
        bound("wudi", ridge=ridge)
