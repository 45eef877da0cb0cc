"""Truncated conjugate gradients: how far Newton's equation is solved, and that no more is done."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from lorafold.solvers._conjugate_gradients import newton_step
from tests.builders import Source


def quadratic(rows: int, n: int, rank: int, gradient_norm: float) -> SimpleNamespace:
    """A convex model whose Hessian is a diagonal between 1 and 100."""
    source = Source(4)
    spectrum = 1 + 99 * source.normal(rows, n, rank).abs().clamp_max(1)
    return SimpleNamespace(
        gradient=source.normal(rows, n, rank),
        hessian=lambda step: spectrum * step,
        gradient_norm=torch.full((rows,), gradient_norm, dtype=torch.float64),
    )


def residuals(model: SimpleNamespace, most: int) -> torch.Tensor:
    """‖g + Hs‖ / ‖g‖ without preconditioner and without a boundary.  (b,)"""
    flat = torch.ones_like(model.gradient)
    step = newton_step(model, flat, torch.full_like(model.gradient_norm, 1e6), most)
    assert not bool(step.at_edge.any())
    left = model.gradient + model.hessian(step.move)
    return left.flatten(1).norm(dim=1) / model.gradient.flatten(1).norm(dim=1)


def test_far_from_the_minimum_three_tenths_of_the_gradient_may_stay():
    far = residuals(quadratic(40, 12, 3, gradient_norm=0.9), most=60)
    assert bool((far <= 0.3).all()) and bool((far > 0.1).any())


def test_near_it_the_residual_falls_faster_than_the_gradient():
    """With ‖r‖² <= ‖g‖² gradient_norm convergence is superlinear (Dembo, Eisenstat & Steihaug 1982)."""
    near = residuals(quadratic(40, 12, 3, gradient_norm=1e-4), most=200)
    assert bool((near <= 1e-2).all()) and bool((near > 1e-4).any())


def test_the_number_of_products_is_a_limit():
    model, products = quadratic(3, 12, 3, gradient_norm=1e-9), []
    hessian = model.hessian
    model.hessian = lambda step: products.append(step) or hessian(step)
    assert bool((residuals(model, most=5) > 1e-4).all()) and len(products) == 5 + 1
