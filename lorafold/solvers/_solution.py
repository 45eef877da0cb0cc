"""What a solver returns: subspaces with a certificate.

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from lorafold.common.text import brief
from lorafold.objectives import Evaluation, Objective


class Method(IntEnum):
    """What made the last move to a solution."""

    CLOSED_FORM = 0
    NEWTON = 1
    SWEEPS = 2
    RIEMANNIAN_ADAM = 3


@dataclass(frozen=True)
class Point:
    """(U, V) of every module with F and the relative norm of its Riemannian gradient there."""

    left: Tensor  # U (b, p, r)
    right: Tensor  # V (b, q, r)
    value: Tensor  # F (b,)
    gradient_norm: Tensor  # see `relative_gradient_norm` (b,)


@dataclass(frozen=True)
class Solution:
    """The subspaces found, and how far they can be trusted."""

    left: Tensor  # U (b, p, r)
    right: Tensor  # V (b, q, r)
    value: Tensor  # F (b,)
    value_start: Tensor  # F at the solver's start (b,)
    gradient_norm: Tensor  # relative (b,)
    iterations: Tensor  # (b,)
    converged: Tensor  # gradient_norm <= tol, and no saddle (b,)
    bound: Tensor | None = None  # min F is no less; NaN where there is no bound (b,)
    curvature: Tensor | None = None  # the smallest relative eigenvalue of the Hessian that was found (b,)
    determined: Tensor | None = None  # no other subspaces nearby are as good (b,)
    method: Tensor | None = None  # a `Method` (b,)

    __repr__ = brief


def point(objective: Objective, left: Tensor, right: Tensor) -> Point:
    """Evaluate F and its certificate at U = left, V = right."""
    evaluation = objective.evaluate(left, right)
    return Point(left, right, evaluation.value, relative_gradient_norm(objective, left, right, evaluation))


def relative_gradient_norm(objective: Objective, left: Tensor, right: Tensor, evaluation: Evaluation) -> Tensor:
    """‖((I-UUᵀ) ∂F/∂U, (I-VVᵀ) ∂F/∂V)‖ / ‖(∂F/∂U, ∂F/∂V)‖, times `objective.strictness`; 0 if F is flat.

    The ratio is the sine of the angle to stationarity. It does not change with the scale of F. For the quadratic
    distances it is the relative residual of the eigenvalue problem K(V)U = UΛ.  (b,)
    """
    whole = evaluation.left.square().sum((1, 2)) + evaluation.right.square().sum((1, 2))
    tangent = _horizontal(left, evaluation.left).square().sum((1, 2))
    tangent = tangent + _horizontal(right, evaluation.right).square().sum((1, 2))
    return torch.where(whole > 0, tangent / whole, 0.0).sqrt() * objective.strictness(evaluation.value)


def _horizontal(frame: Tensor, gradient: Tensor) -> Tensor:
    if frame.shape[-1] == frame.shape[-2]:
        return torch.zeros_like(gradient)  # the whole space: not even rounding points out of it
    return gradient - frame @ (frame.mT @ gradient)
