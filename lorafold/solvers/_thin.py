"""Newton steps on thin matrices: of a large quadratic objective nothing but products with (d, r) matrices is taken.

A tangent vector is K (p, r) with UᵀK = 0 and L (q, r) with VᵀL = 0, packed as [K; L].

b = modules, J = reconstruction targets, p / q = left / right dimension, d = either, w = columns of a frame, r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lorafold.common.batched import map_tensors
from lorafold.objectives import Objective, QuadraticTerm, split
from lorafold.solvers._conjugate_gradients import newton_step
from lorafold.solvers._newton import FIRST_RADIUS, LONGEST, judged

# Products with the Hessian per step: each is as dear as a quarter of what comes after them.
_PRODUCTS = 32
# Entries of the preconditioner below this, relative to the largest, are raised to it.
_FLOOR = 1e-4


@dataclass(frozen=True)
class Thin:
    """F with its first derivatives at (U, V), and what products with the second take."""

    left: Tensor  # U (b, p, r)
    right: Tensor  # V (b, q, r)
    value: Tensor  # F (b,)
    gradient_norm: Tensor  # relative (b,)
    gradient: Tensor  # [(I - UUᵀ) ∂F/∂U; (I - VVᵀ) ∂F/∂V] (b, p + q, r)
    inward_left: Tensor  # Uᵀ ∂F/∂U (b, r, r)
    inward_right: Tensor  # Vᵀ ∂F/∂V (b, r, r)
    down: Tensor  # T_jV (b, J, p, r)
    up: Tensor  # T_jᵀU (b, J, q, r)


@dataclass(frozen=True)
class ThinModel:
    """F to second order there."""

    objective: Objective
    at: Thin

    @property
    def gradient(self) -> Tensor:
        return self.at.gradient

    @property
    def gradient_norm(self) -> Tensor:
        return self.at.gradient_norm

    def hessian(self, step: Tensor) -> Tensor:
        """Hess F of what of `step` is tangent; see `Model.hessian`."""
        F, at = self.objective, self.at
        K, L = split(step, at.left.shape[1])
        K, L = _tangent(at.left, K), _tangent(at.right, L)
        inner = at.left.mT[:, None] @ at.down
        turn = K.mT[:, None] @ at.down + at.up.mT @ L[:, None]  # the change of UᵀT_jV (b, J, r, r)
        left = form(F.left) @ K + (F.targets @ (L[:, None] @ inner.mT) + at.down @ turn.mT).sum(1)
        right = form(F.right) @ L + (F.targets.mT @ (K[:, None] @ inner) + at.up @ turn).sum(1)
        left = -2 * _tangent(at.left, left) - K @ at.inward_left
        return torch.cat([left, -2 * _tangent(at.right, right) - L @ at.inward_right], dim=1)


@dataclass(frozen=True)
class Preconditioner:
    """Z (ZᵀX / D) + (X - ZZᵀX) / D⊥ of either side: what the Hessian's inverse is about, Z = `frames`."""

    frames: tuple[Tensor, Tensor]  # (b, p, w) and (b, q, w)
    inside: tuple[Tensor, Tensor]  # D (b, w, r)
    outside: tuple[Tensor, Tensor]  # D⊥ (b, 1, r)

    def __call__(self, packed: Tensor) -> Tensor:
        """Of a packed vector."""
        sides = split(packed, self.frames[0].shape[1])
        return torch.cat([self._side(side, X) for side, X in enumerate(sides)], dim=1)

    def _side(self, side: int, X: Tensor) -> Tensor:
        Z, outside = self.frames[side], self.outside[side]
        seen = Z.mT @ X
        return torch.baddbmm(X / outside, Z, seen / self.inside[side] - seen / outside)


def descend_thin(
    objective: Objective, left: Tensor, right: Tensor, frames: tuple[Tensor, Tensor], tol: float, max_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton steps from U = left (b, p, r) and V = right (b, q, r): the last U and V, and how many steps (b,).

    As in `descend`, F never rises, and steps are found in float32.

    Args:
        objective: of quadratic distances.
        frames: the preconditioner's Z (b, d, w) of either side, in whose columns the Hessian is about diagonal.
        tol: bound on the relative Riemannian gradient norm.
        max_steps: give up on a module after so many.
    """
    single, Z = map_tensors(objective, Tensor.float), (frames[0].float(), frames[1].float())
    here = thin(objective, left, right)
    steps = torch.zeros_like(here.value, dtype=torch.int64)
    radius: Tensor | None = None
    for _ in range(max_steps):
        going = here.gradient_norm > tol
        if not bool(going.any()):
            break
        model = ThinModel(single, map_tensors(here, Tensor.float))
        precondition = _preconditioner(model, Z)
        if radius is None:
            length = (model.gradient * precondition(model.gradient)).sum((1, 2))
            radius = (FIRST_RADIUS * length.sqrt()).to(here.value.dtype)
        step = newton_step(model, precondition, radius.float(), _PRODUCTS, goal=tol)
        there = _moved(objective, here, step.move.to(here.value.dtype))
        taken, radius = judged(step, here.value - there.value, radius, objective.rounding)
        here = map_tensors(there, partial(_where, taken & going), here)
        steps += going
    return here.left, here.right, steps


def thin(objective: Objective, left: Tensor, right: Tensor) -> Thin:
    """F and what else is to be known at (U, V)."""
    seen_left, seen_right = form(objective.left) @ left, form(objective.right) @ right
    down, up = objective.targets @ right[:, None], objective.targets.mT @ left[:, None]
    inner = left.mT[:, None] @ down
    slopes = -2 * (seen_left + (down @ inner.mT).sum(1)), -2 * (seen_right + (up @ inner).sum(1))
    inward = left.mT @ slopes[0], right.mT @ slopes[1]
    gradient = torch.cat([slopes[0] - left @ inward[0], slopes[1] - right @ inward[1]], dim=1)
    value = objective.most - sum((X * seen).sum((1, 2)) for X, seen in ((left, seen_left), (right, seen_right)))
    value = value - inner.square().sum((1, 2, 3))
    whole = slopes[0].square().sum((1, 2)) + slopes[1].square().sum((1, 2))
    relative = torch.where(whole > 0, gradient.square().sum((1, 2)) / whole, 0.0).sqrt() * objective.strictness(value)
    return Thin(left, right, value, relative, gradient, *inward, down, up)


def form(term: object) -> Tensor:
    """P of a quadratic term."""
    assert isinstance(term, QuadraticTerm)
    return term.form


def _preconditioner(model: ThinModel, frames: tuple[Tensor, Tensor]) -> Preconditioner:
    """From the diagonal of -2 (P + Σ_j T_jVVᵀT_jᵀ) on Z, and its mean off Z, less that of the inward slope."""
    F, at = model.objective, model.at
    sides = (
        (form(F.left), at.down, at.inward_left, frames[0]),
        (form(F.right), at.up, at.inward_right, frames[1]),
    )
    (left, far_left), (right, far_right) = (_diagonal(*side) for side in sides)
    return Preconditioner(frames, (left, right), (far_left, far_right))


def _diagonal(P: Tensor, seen: Tensor, inward: Tensor, Z: Tensor) -> tuple[Tensor, Tensor]:
    inside = (Z * (P @ Z)).sum(1) + (seen.mT @ Z[:, None]).square().sum((1, 2))  # (b, w)
    total = P.diagonal(dim1=-2, dim2=-1).sum(-1) + seen.square().sum((1, 2, 3))
    outside = (total - inside.sum(-1)) / max(1, Z.shape[1] - Z.shape[2])
    own = inward.diagonal(dim1=-2, dim2=-1)[:, None, :]
    near, far = (-2 * inside[..., None] - own).abs(), (-2 * outside[:, None, None] - own).abs()
    least = (_FLOOR * torch.maximum(near.amax((1, 2)), far.amax((1, 2)))).clamp_min(torch.finfo(P.dtype).tiny)
    return torch.maximum(near, least[:, None, None]), torch.maximum(far, least[:, None, None])


def _moved(objective: Objective, here: Thin, step: Tensor) -> Thin:
    K, L = split(step, here.left.shape[1])
    K, L = _tangent(here.left, K), _tangent(here.right, L)
    length = (K.square().sum((1, 2)) + L.square().sum((1, 2))).sqrt()
    shorter = (LONGEST / length.clamp_min(LONGEST))[:, None, None]
    return thin(objective, _retracted(here.left, shorter * K), _retracted(here.right, shorter * L))


def _retracted(frame: Tensor, step: Tensor) -> Tensor:
    """An orthonormal frame of what UᵀK = 0 and U + K span."""
    moved = frame + step
    L = torch.linalg.cholesky_ex(moved.mT @ moved).L
    return torch.linalg.solve_triangular(L, moved.mT, upper=False).mT.contiguous()


def _where(taken: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(taken.view(-1, *[1] * (new.dim() - 1)), new, old)


def _tangent(frame: Tensor, vector: Tensor) -> Tensor:
    return torch.baddbmm(vector, frame, frame.mT @ vector, alpha=-1)
