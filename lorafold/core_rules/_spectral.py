"""What the spectral rules share: singular values by numerical rank, polar factors of rank-deficient matrices.

b = modules, N = adapters, r = rank of the merged subspaces, k = singular directions; leading dimensions are a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.core_space import RANK_TOLERANCE
from lorafold.geometry.singular import svd


@dataclass(frozen=True)
class Spectrum:
    """Singular directions, X = `left` diag(`sigma`) `right`ᵀ; those past the numerical rank of X are zero in all three.

    One of a stack of matrices (b, N, ...) may be pooled into one of a batch (b, ...).
    """

    left: Tensor  # (..., r, k)
    sigma: Tensor  # (..., k)
    right: Tensor  # (..., r, k)

    @property
    def rank(self) -> Tensor:
        """How many directions there are.  (...)"""
        return (self.sigma > 0).sum(-1)

    @property
    def mean(self) -> Tensor:
        """The mean singular value of those; 0 if there are none.  (...)"""
        return self.sigma.sum(-1) / self.rank.clamp_min(1)

    def leading(self, count: Tensor) -> Spectrum:
        """The first `count` (...) directions of each."""
        kept = torch.arange(self.sigma.shape[-1], device=count.device) < count[..., None]
        return Spectrum(self.left * kept[..., None, :], self.sigma * kept, self.right * kept[..., None, :])

    def pooled(self) -> Spectrum:
        """The directions of all adapters side by side: (b, N, r, k) -> (b, r, N k)."""
        left, right = (side.transpose(1, 2).flatten(2) for side in (self.left, self.right))
        return Spectrum(left, self.sigma.flatten(1), right)

    def beside(self, other: Spectrum) -> Spectrum:
        """The directions of both."""
        left, right = torch.cat([self.left, other.left], -1), torch.cat([self.right, other.right], -1)
        return Spectrum(left, torch.cat([self.sigma, other.sigma], -1), right)

    def matrix(self) -> Tensor:
        """Σ σ_j u_j v_jᵀ.  (..., r, r)"""
        return self.left * self.sigma[..., None, :] @ self.right.mT


def spectrum(X: Tensor, floor: Tensor | None = None) -> Spectrum:
    """The singular value decomposition of X (..., r, r) up to its numerical rank.

    Args:
        X: the matrices.
        floor: singular values up to this (...) are rounding noise too: of what X is the difference of.
    """
    Q, sigma, Rt = svd(X)
    noise = RANK_TOLERANCE * sigma[..., :1]
    kept = sigma > (noise if floor is None else torch.maximum(noise, floor[..., None]))  # not ">=": X may be zero
    return Spectrum(Q * kept[..., None, :], sigma * kept, Rt.mT * kept[..., None, :])


def isometry(X: Tensor) -> Tensor:
    """The polar factor of X (..., r, k) on the span of X, and 0 outside: UVᵀ of X = UΣVᵀ without null directions.

    Columns of zeros stay zero, and a column that occurs twice comes out as 1/√2 of itself both times.
    """
    parts = spectrum(X)
    return parts.left @ parts.right.mT
