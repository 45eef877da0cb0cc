"""One trust-region step: Newton's equation by truncated, preconditioned conjugate gradients, batched.

b = modules, n = c + e rows of a packed tangent vector, r = rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from lorafold.objectives import Model

# The residual at which the iteration stops, relative to the gradient, in the norm of D⁻¹: less pays only near the end.
_FORCING = 0.3
# Entries of the preconditioner below this, relative to the largest, are raised to it.
_FLOOR = 1e-4


@dataclass(frozen=True)
class Step:
    """A tangent vector and what the model expects of it."""

    move: Tensor  # (b, n, r)
    decrease: Tensor  # of the quadratic model (b,)
    at_edge: Tensor  # the step ends on the boundary of the trust region (b,)


def preconditioner(model: Model) -> Tensor:
    """A positive diagonal D near that of the Hessian.  (b, n, r)"""
    size = model.diagonal().abs()
    return size.clamp_min(_FLOOR * size.amax((1, 2), keepdim=True)).clamp_min(torch.finfo(size.dtype).tiny)


class Local(Protocol):
    """F to second order at a point, of modules side by side."""

    @property
    def gradient(self) -> Tensor:
        """(b, n, r)"""

    @property
    def gradient_norm(self) -> Tensor:
        """Relative (b,)"""

    def hessian(self, step: Tensor) -> Tensor:
        """(b, n, r)"""


def newton_step(
    model: Local, scale: Tensor | Callable[[Tensor], Tensor], radius: Tensor, most: int, goal: float = 0.0
) -> Step:
    """About the minimiser of g·s + s·Hs/2 over s·Ds <= radius², from so many products with H.

    Conjugate gradients that stop on the boundary, or follow a direction of negative curvature to it: so saddle points
    are left and not converged to (Steihaug 1983; Absil, Baker & Gallivan 2007, algorithm 2).

    Args:
        model: F to second order.
        scale: D (b, n, r), or the product with D⁻¹ where it is no diagonal.
        radius: (b,).
        most: iterations. On a GPU there are as many for every batch, so that it is never waited for; a module that has
            ended stays where it is.
        goal: the relative gradient norm that is asked for: a residual far below it is not.
    """
    divided = scale if callable(scale) else partial(_divided, scale=scale)
    residual = -model.gradient
    move = torch.zeros_like(residual)
    direction = divided(residual)
    rz = _dot(residual, direction)
    enough = rz * model.gradient_norm.clamp_max(_FORCING**2)
    if goal:
        near = (_FORCING * goal / model.gradient_norm.clamp_min(goal)).square()
        enough = torch.maximum(enough, rz * near)
    moved, crossed, length = torch.zeros_like(rz), torch.zeros_like(rz), rz  # s·Ds, s·Dd, d·Dd
    active, at_edge = rz > 0, torch.zeros_like(rz, dtype=torch.bool)
    for _ in range(most):
        bent = model.hessian(direction)
        curvature = _dot(direction, bent)
        inside = rz / torch.where(curvature > 0, curvature, 1.0)
        further = moved + 2 * inside * crossed + inside.square() * length
        out = (curvature <= 0) | (further >= radius.square())
        edge = _to_edge(moved, crossed, length, radius)
        factor = torch.where(active, torch.where(out, edge, inside), 0.0)[:, None, None]
        move = torch.addcmul(move, factor, direction)
        residual = torch.addcmul(residual, factor, bent, value=-1)
        at_edge = at_edge | (out & active)
        z = divided(residual)
        new = _dot(residual, z)
        active = active & ~out & (new > enough)
        if not active.is_cuda and not bool(active.any()):
            break
        beta = new / rz.clamp_min(torch.finfo(rz.dtype).tiny)
        moved, crossed = further, beta * (crossed + inside * length)
        length, rz = new + beta.square() * length, new
        direction = torch.addcmul(z, beta[:, None, None], direction)
    # F falls by -g·s - s·Hs/2, and Hs = -g - residual
    return Step(move, (_dot(move, residual) - _dot(move, model.gradient)) / 2, at_edge)


def _divided(vector: Tensor, scale: Tensor) -> Tensor:
    return vector / scale


def _to_edge(moved: Tensor, crossed: Tensor, length: Tensor, radius: Tensor) -> Tensor:
    """t >= 0 with ‖s + t d‖ = radius, s being inside."""
    room = radius.square() - moved
    return ((crossed.square() + length * room).sqrt() - crossed) / length.clamp_min(torch.finfo(length.dtype).tiny)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return torch.linalg.vecdot(first.flatten(1), second.flatten(1))
