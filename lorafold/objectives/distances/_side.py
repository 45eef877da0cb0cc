"""One side's subspace term to second order, in the coordinates of a whole basis [U U⊥].

A tangent vector at U is U⊥K with any K (c, r). b = modules, N = adapters, k = directions per adapter (zero-padded),
d = dimension of the side, r = rank, c = d - r, s = min(k, r).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Cosines below this count as this where the second derivative divides by them: θ² has a ridge at c = 0.
_SMALL = 1e-3
# Cosines nearer to each other than this have their difference quotient replaced by the derivative.
_TIED = 1e-6


class SecondOrderTerm(Protocol):
    """Value and derivatives of one term f at U."""

    @property
    def value(self) -> Tensor:
        """f (b,)"""

    @property
    def inward(self) -> Tensor:
        """Uᵀ ∂f/∂U, symmetric as f does not change under U -> UQ.  (b, r, r)"""

    @property
    def slope(self) -> Tensor:
        """U⊥ᵀ ∂f/∂U (b, c, r)"""

    @property
    def diagonal(self) -> Tensor:
        """About the second derivatives of f along the directions of U⊥, for a preconditioner.  (b, c)"""

    def bend(self, K: Tensor) -> Tensor:
        """U⊥ᵀ D(∂f/∂U)[U⊥K] (b, c, r): the second derivative but for the curvature of the manifold."""


@dataclass(frozen=True)
class QuadraticSide:
    """f = constant - tr(UᵀPU)."""

    value: Tensor  # (b,)
    inward: Tensor  # -2 UᵀPU (b, r, r)
    slope: Tensor  # -2 U⊥ᵀPU (b, c, r)
    block: Tensor  # -2 U⊥ᵀPU⊥ (b, c, c)

    @property
    def diagonal(self) -> Tensor:
        return self.block.diagonal(dim1=-2, dim2=-1)

    def bend(self, K: Tensor) -> Tensor:
        return self.block @ K


@dataclass(frozen=True)
class SpectralSide:
    """f = Σ share_i h_i(cosines of O_i), O_i = U_iᵀU = Q diag(c) Rᵀ.

    With E = U_iᵀU⊥K, the slope Q diag(h') Rᵀ of h at O changes by Q (a ∘ sym E' + b ∘ skew E') Rᵀ, E' = QᵀER,
    a_jl = (h'_j - h'_l) / (c_j - c_l), a_jj = h''_j, b_jl = (h'_j + h'_l) / (c_j + c_l), and by h'_j / c_j times
    what of E lies outside of span Q or span R (Lewis & Sendov 2001, Theorem 3.3, for singular values).
    """

    value: Tensor  # (b,)
    inward: Tensor  # (b, r, r)
    slope: Tensor  # (b, c, r)
    across: Tensor  # U_iᵀU⊥ (b, N, k, c)
    Q: Tensor  # (b, N, k, s)
    R: Tensor  # (b, N, r, s)
    within: Tensor  # share_i ((a + b) / 2 - h' / c) (b, N, s, s)
    crossed: Tensor  # share_i (a - b) / 2 (b, N, s, s)
    outside: Tensor  # share_i h' / c (b, N, 1, s)

    @property
    def diagonal(self) -> Tensor:
        # of h' / c the mildest: a preconditioner that follows the ridges of h does worse
        return (self.across.square().sum(-2) * self.outside.amax((-2, -1))[..., None]).sum(1)

    def bend(self, K: Tensor) -> Tensor:
        across = self.across.flatten(1, 2)  # (b, N k, c)
        E = (across @ K).view(*self.across.shape[:3], -1)  # (b, N, k, r)
        ER, QtE = E @ self.R, self.Q.mT @ E
        inner = QtE @ self.R
        within = torch.addcmul(inner * self.within, inner.mT, self.crossed)
        change = (self.Q @ within + ER * self.outside) @ self.R.mT
        change = change + self.Q @ (self.outside.mT * (QtE - inner @ self.R.mT))
        return across.mT @ change.flatten(1, 2)


def spectral_weights(cos: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`within`, `crossed` and `outside` of `SpectralSide` but for the share, from c, h' and h'' (b, N, s)."""
    gap = cos[..., :, None] - cos[..., None, :]
    rise = first[..., :, None] - first[..., None, :]
    tied = gap.abs() < _TIED
    a = torch.where(tied, (second[..., :, None] + second[..., None, :]) / 2, rise / torch.where(tied, 1.0, gap))
    total = (cos[..., :, None] + cos[..., None, :]).clamp_min(_SMALL)
    b = (first[..., :, None] + first[..., None, :]) / total
    outside = (first / cos.clamp_min(_SMALL))[..., None, :]
    return (a + b) / 2 - outside, (a - b) / 2, outside
