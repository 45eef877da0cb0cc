"""F(U, V) = subspace term + reconstruction term, with closed gradients.

b = modules, N = adapters, J = reconstruction targets, p / q = left / right dimension, K = directions, r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lorafold.objectives._distance import Distance


@dataclass(frozen=True)
class Evaluation:
    """F and its Euclidean gradients at one (U, V)."""

    value: Tensor  # (b,)
    left: Tensor  # dF/dU (b, p, r)
    right: Tensor  # dF/dV (b, q, r)


@dataclass(frozen=True)
class Objective:
    """F(U,V) = subspace_weight Σ ŵ_i [δ(U,U_i) + δ(V,V_i)] / 2 + constant - Σ_j ‖UᵀT_jV‖².

    The T_j carry √reconstruction_weight already (see `build`). F is bounded below by 0.
    """

    distance: Distance
    rank: int  # r
    left: Tensor  # (b, N, p, K)  U_i, truncated to the directions that make the point
    right: Tensor  # (b, N, q, K)
    dims: Tensor  # (b, N)
    shares: Tensor  # (b, N)  subspace_weight ŵ_i / 2
    targets: Tensor  # (b, J, p, q)  T_j
    constant: Tensor  # (b,)

    @property
    def transposed(self) -> Objective:
        """The same objective with the roles of U and V exchanged."""
        return Objective(
            self.distance,
            self.rank,
            self.right,
            self.left,
            self.dims,
            self.shares,
            self.targets.mT,
            self.constant,
        )

    def evaluate(self, left: Tensor, right: Tensor) -> Evaluation:
        """F, dF/dU and dF/dV at U = left (b, p, r), V = right (b, q, r)."""
        value_left, grad_left = _subspace(self, self.left, left)
        value_right, grad_right = _subspace(self, self.right, right)
        seen = self.targets @ right[:, None]  # T_jV (b, J, p, r)
        inner = left.mT[:, None] @ seen  # UᵀT_jV (b, J, r, r)
        grad_left = grad_left - 2 * (seen @ inner.mT).sum(1)
        grad_right = grad_right - 2 * (self.targets.mT @ (left[:, None] @ inner)).sum(1)
        value = value_left + value_right + self.constant - inner.square().sum((1, 2, 3))
        return Evaluation(value, grad_left, grad_right)

    def gradient_left(self, left: Tensor, right: Tensor) -> Tensor:
        """dF/dU alone.  (b, p, r)"""
        seen = self.targets @ right[:, None]
        return _subspace(self, self.left, left)[1] - 2 * (seen @ (seen.mT @ left[:, None])).sum(1)

    def form_left(self, right: Tensor) -> Tensor | None:
        """K(V) with F = constant - tr(UᵀK(V)U) for fixed V = right: None if the distance is not quadratic.

        K(V) = Σ_i share_i a_i U_iU_iᵀ + Σ_j T_jVVᵀT_jᵀ.  (b, p, p)
        """
        if self.distance.stiffness is None:
            return None
        weight = self.shares * self.distance.stiffness(self.dims.clamp_max(self.rank).to(right.dtype), self.rank)
        factors = (self.left * weight.sqrt()[..., None, None], self.targets @ right[:, None])
        return sum(_gram(factor) for factor in factors)  # type: ignore[return-value]

    def shift(self) -> Tensor:
        """s with s ‖U‖² - F convex in U for fixed V, and likewise for V.  (b,)"""
        return self.shares.sum(-1) * self.distance.shift(self.rank)


def _subspace(objective: Objective, frames: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_i share_i δ(U, U_i) and its gradient at U = frame."""
    value, slope = objective.distance.evaluate(frames.mT @ frame[:, None], objective.dims)
    return (objective.shares * value).sum(-1), (frames @ (slope * objective.shares[..., None, None])).sum(1)


def _gram(factors: Tensor) -> Tensor:
    """Σ_i X_iX_iᵀ of X (b, N, p, K).  (b, p, p)"""
    wide = factors.transpose(1, 2).flatten(2)
    return wide @ wide.mT
