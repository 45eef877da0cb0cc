"""The merge problem of a batch of modules, in any coordinates: full space or core space.

b = modules, N = adapters, p / q = left / right dimension, K = directions per adapter (zero-padded), r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Relative to the largest of the terms of a sum.
_CANCELLED = 1e-12
# Of the largest norm: from here on down an update counts the less the fainter it is.
FAINT = 1e-2


def participation(energies: Tensor) -> Tensor:
    """How much an update counts as one of N: min(1, E_i / (1e-4 max_j E_j)), which is 1 unless its norm is below 1 %.

    Without it an adapter of hardly any size would have as large a say in subspaces and means as the others, and one
    that becomes smaller and smaller would not come to be as if it were not there.

    Args:
        energies: E_i = ‖ΔW_i‖² (..., N), 0 of those that do not take part.
    """
    largest = energies.amax(-1, keepdim=True)
    return torch.where(largest > 0, energies / (FAINT**2 * largest), 0.0).clamp_max(1)


@dataclass(frozen=True)
class Problem:
    """N updates per module, each as orthonormal frames and a small matrix: ΔW_i = U_i C_i V_iᵀ.

    Columns of the frames (and rows and columns of `core`) from `dims` on are zero: an adapter that lacks the
    module, or whose update is zero there, has `dims` = 0.

    Args:
        others: the updates whose subspaces count, where they are not these.
    """

    left: Tensor  # (b, N, p, K)  U_i
    right: Tensor  # (b, N, q, K)  V_i
    core: Tensor  # (b, N, K, K)  C_i
    dims: Tensor  # (b, N)  numerical rank of ΔW_i
    weights: Tensor  # (b, N)  w_i, signed
    others: Problem | None = None

    @property
    def subspaces(self) -> Problem:
        """The updates whose subspaces are the points of a subspace term, and those that overlaps are measured with."""
        return self.others or self

    @property
    def shares(self) -> Tensor:
        """ŵ_i = |w_i| / Σ|w_i| over the adapters that are there, see `participation`; all zero if none is.  (b, N)"""
        size = self.weights.abs() * participation(self.energies * (self.dims > 0) * (self.weights != 0))
        return size / size.sum(-1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)

    @property
    def energies(self) -> Tensor:
        """‖ΔW_i‖².  (b, N)"""
        return self.core.square().sum((-2, -1))

    def updates(self) -> Tensor:
        """ΔW_i in these coordinates.  (b, N, p, q)"""
        return self.left @ self.core @ self.right.mT

    @property
    def rounding(self) -> Tensor:
        """Norms below this are what rounding leaves of weighted updates that cancel.  (b,)"""
        return _CANCELLED * (self.weights.abs() * self.energies.sqrt()).amax(-1)

    @cached_property
    def target(self) -> Tensor:
        """M = Σ w_i ΔW_i; exactly zero where the updates cancel.  (b, p, q)"""
        weighted = self.weights[..., None, None] * self.core
        total = _side_by_side(self.left @ weighted) @ _side_by_side(self.right).mT
        return total * (torch.linalg.matrix_norm(total) > self.rounding)[:, None, None]

    def coordinates(self, left: Tensor, right: Tensor) -> Tensor:
        """UᵀΔW_iV for U (b, p, r) and V (b, q, r).  (b, N, r, r)"""
        return (left.mT[:, None] @ self.left) @ self.core @ (self.right.mT @ right[:, None])


def _side_by_side(frames: Tensor) -> Tensor:
    """(b, N, p, K) -> (b, p, N K)"""
    return frames.transpose(1, 2).flatten(2)
