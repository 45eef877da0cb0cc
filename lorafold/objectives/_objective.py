"""F(U, V) = subspace terms + reconstruction term, with closed gradients.

b = modules, J = reconstruction targets, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.objectives._model import Model, expand
from lorafold.objectives._terms import QuadraticTerm, Term, chordal_counterpart, more_cautious

# F below this part of its largest value counts as that: rounding is to decide nothing.
_SMALLEST = 1e-10


@dataclass(frozen=True)
class Evaluation:
    """F and its Euclidean gradients at one (U, V)."""

    value: Tensor  # (b,)
    left: Tensor  # ∂F/∂U (b, p, r)
    right: Tensor  # ∂F/∂V (b, q, r)


@dataclass(frozen=True)
class Objective:
    """F(U,V) = subspace_weight Σ ŵ_i [δ(U,U_i) + δ(V,V_i)] / 2 + constant - Σ_j ‖UᵀT_jV‖².

    The T_j carry √reconstruction_weight already (see `build`). F is bounded below by 0.
    """

    rank: int  # r
    left: Term
    right: Term
    targets: Tensor  # T_j (b, J, p, q)
    constant: Tensor  # (b,)

    @property
    def transposed(self) -> Objective:
        """The same objective with the roles of U and V exchanged."""
        return Objective(self.rank, self.right, self.left, self.targets.mT, self.constant)

    @property
    def chordal(self) -> Objective:
        """The same objective with the chordal distance, if its own is not quadratic."""
        return replace(self, left=chordal_counterpart(self.left), right=chordal_counterpart(self.right))

    def more_cautious(self, rows: Tensor) -> Objective:
        """The same objective with shorter steps in some rows (indices), where a sweep has overshot."""
        return replace(self, left=more_cautious(self.left, rows), right=more_cautious(self.right, rows))

    @property
    def is_quadratic(self) -> bool:
        """Whether the best U for a fixed V is an eigenspace."""
        return self.left.form is not None

    @property
    def rounding(self) -> Tensor:
        """What rounding makes of F at most: it is a difference of sums as large as its bound.  (b,)"""
        return 8 * torch.finfo(self.most.dtype).eps * self.most

    @property
    def most(self) -> Tensor:
        """A bound of F.  (b,)"""
        return self.constant + self.left.most + self.right.most

    def strictness(self, value: Tensor) -> Tensor:
        """√(largest F / F) >= 1. Near a minimum F exceeds it by a multiple of the squared gradient: a test of the
        gradient times this is one of F - min F relative to F, be F ever so small.  (b,)"""
        least = torch.maximum(value, _SMALLEST * self.most)
        return torch.where(self.most > 0, self.most / torch.where(least > 0, least, 1.0), 1.0).clamp_min(1).sqrt()

    def evaluate(self, left: Tensor, right: Tensor) -> Evaluation:
        """F, ∂F/∂U and ∂F/∂V at U = left (b, p, r), V = right (b, q, r)."""
        value_left, grad_left = self.left.evaluate(left)
        value_right, grad_right = self.right.evaluate(right)
        seen = self.targets @ right[:, None]  # T_jV (b, J, p, r)
        inner = left.mT[:, None] @ seen  # UᵀT_jV (b, J, r, r)
        grad_left = grad_left - 2 * (seen @ inner.mT).sum(1)
        grad_right = grad_right - 2 * (self.targets.mT @ (left[:, None] @ inner)).sum(1)
        value = value_left + value_right + self.constant - inner.square().sum((1, 2, 3))
        return Evaluation(value, grad_left, grad_right)

    @property
    def is_curved(self) -> bool:
        """Whether `expand` exists."""
        return self.left.is_curved

    def expand(self, left: Tensor, right: Tensor) -> Model:
        """F to second order at U and V, the first r columns of orthogonal left (b, p, p) and right (b, q, q)."""
        seen = left.mT[:, None] @ (self.targets @ right[:, None])  # XᵀT_jY (b, J, p, q)
        sides = self.left.expand(left, self.rank), self.right.expand(right, self.rank)
        return expand(*sides, seen, self.rank, self.constant, self.strictness)

    def expand_here(self) -> Model:
        """The same where left and right are identities, of a quadratic distance: without a product of p³."""
        assert isinstance(self.left, QuadraticTerm) and isinstance(self.right, QuadraticTerm)
        sides = self.left.expand_here(self.rank), self.right.expand_here(self.rank)
        return expand(*sides, self.targets, self.rank, self.constant, self.strictness)

    @property
    def energies(self) -> tuple[Tensor, Tensor]:
        """Σ_j T_jT_jᵀ (b, p, p) and Σ_j T_jᵀT_j (b, q, q)."""
        wide, tall = self.targets.transpose(1, 2).flatten(2), self.targets.flatten(1, 2)
        return wide @ wide.mT, tall.mT @ tall

    def seen_from_left(self, right: Tensor) -> Tensor:
        """[T_1V .. T_JV] side by side: Σ_j T_jVVᵀT_jᵀ is its Gram matrix.  (b, p, J r)"""
        return (self.targets @ right[:, None]).transpose(1, 2).flatten(2)
