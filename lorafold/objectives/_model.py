"""F to second order at (U, V), in the coordinates of whole bases [U U⊥] and [V V⊥].

A tangent vector (U⊥K, V⊥L) is packed as [K; L].  b = modules, J = reconstruction targets, p / q = left / right
dimension, r = rank, c = p - r, e = q - r.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.objectives.distances._side import SecondOrderTerm


@dataclass(frozen=True)
class Model:
    """Value, Riemannian gradient and Hessian of F = left(U) + right(V) + constant - Σ_j ‖UᵀT_jV‖²."""

    value: Tensor  # F (b,)
    strictness: Tensor  # see `Objective.strictness` (b,)
    left: SecondOrderTerm
    right: SecondOrderTerm
    inward_left: Tensor  # Uᵀ ∂F/∂U (b, r, r)
    inward_right: Tensor  # Vᵀ ∂F/∂V (b, r, r)
    gradient: Tensor  # [U⊥ᵀ ∂F/∂U; V⊥ᵀ ∂F/∂V] (b, c + e, r)
    inner: Tensor  # UᵀT_jV (b, J, r, r)
    up: Tensor  # UᵀT_jV⊥ (b, J, r, e)
    down: Tensor  # U⊥ᵀT_jV (b, J, c, r)
    far: Tensor  # U⊥ᵀT_jV⊥ (b, J, c, e)

    @property
    def gradient_norm(self) -> Tensor:
        """‖grad F‖ / ‖∇F‖, times `strictness`; 0 if F is flat.  (b,)"""
        tangent = self.gradient.square().sum((1, 2))
        whole = tangent + (self.inward_left.square() + self.inward_right.square()).sum((1, 2))
        return torch.where(whole > 0, tangent / whole, 0.0).sqrt() * self.strictness

    def hessian(self, step: Tensor) -> Tensor:
        """Hess F of a tangent vector (b, c + e, r) (Edelman, Arias & Smith 1998, section 2.5.4).

        U -> U + U⊥K changes ∂F/∂U by its second derivative, and by -U⊥K UᵀF_U through the curvature.
        """
        K, L = split(step, self.down.shape[-2])
        left = torch.baddbmm(self.left.bend(K), K, self.inward_left, alpha=-1)
        right = torch.baddbmm(self.right.bend(L), L, self.inward_right, alpha=-1)
        for inner, up, down, far in zip(
            *(T.unbind(1) for T in (self.inner, self.up, self.down, self.far)), strict=True
        ):
            turn = torch.baddbmm((down.mT @ K).mT, up, L)  # the change of UᵀT_jV (b, r, r)
            left = torch.baddbmm(left, down, turn.mT, alpha=-2).baddbmm(far, L @ inner.mT, alpha=-2)
            right = torch.baddbmm(right, up.mT, turn, alpha=-2).baddbmm(far.mT, K @ inner, alpha=-2)
        return torch.cat([left, right], dim=1)

    def diagonal(self) -> Tensor:
        """About the diagonal of the Hessian.  (b, c + e, r)"""
        left = self.left.diagonal - 2 * self.down.square().sum((1, 3))
        right = self.right.diagonal - 2 * self.up.square().sum((1, 2))
        return torch.cat([_outer(left, self.inward_left), _outer(right, self.inward_right)], dim=1)


def expand(
    left: SecondOrderTerm,
    right: SecondOrderTerm,
    seen: Tensor,
    rank: int,
    constant: Tensor,
    strictness: Callable[[Tensor], Tensor],
) -> Model:
    """The model from its sides and XᵀT_jY = seen (b, J, p, q) in the bases X and Y."""
    upper, lower = seen[:, :, :rank], seen[:, :, rank:]
    inner, up, down, far = upper[..., :rank], upper[..., rank:], lower[..., :rank], lower[..., rank:]
    value = left.value + right.value + constant - inner.square().sum((1, 2, 3))
    return Model(
        value=value,
        strictness=strictness(value),
        left=left,
        right=right,
        inward_left=left.inward - 2 * (inner @ inner.mT).sum(1),
        inward_right=right.inward - 2 * (inner.mT @ inner).sum(1),
        gradient=torch.cat(
            [left.slope - 2 * (down @ inner.mT).sum(1), right.slope - 2 * (up.mT @ inner).sum(1)], dim=1
        ),
        inner=inner,
        up=up,
        down=down,
        far=far,
    )


def split(packed: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """K (b, c, r) and L (b, e, r)."""
    return packed[:, :rows], packed[:, rows:]


def _outer(rows: Tensor, inward: Tensor) -> Tensor:
    return rows[:, :, None] - inward.diagonal(dim1=-2, dim2=-1)[:, None, :]
