"""The best approximation of given rank of a dense matrix, and what it loses.

Shapes: m = out, n = in * prod(kernel), k = rank.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Up to this size of the smaller side the singular vectors are those of the Gram matrix: exact, at most seconds.
_EXACT = 1024
_OVERSAMPLING, _SWEEPS = 32, 6


class Factors(NamedTuple):
    """A matrix as up @ down, and the share of its energy ‖.‖² that they lack."""

    up: Tensor  # (m, k)
    down: Tensor  # (k, n)
    lost: float = 0.0


def truncate(matrix: Tensor, rank: int | None) -> Factors:
    """Factors of a matrix (m, n), float64, of at most `rank`; exact if it is None or not below min(m, n).

    Otherwise the truncated SVD U √S, √S Vᵀ (Eckart & Young).
    """
    if rank is None or rank >= min(matrix.shape):
        return exactly(matrix)
    U, S, Vh = leading(matrix, rank)
    return Factors(U * S.sqrt(), S.sqrt()[:, None] * Vh, lost_energy(S, matrix.square().sum()))


def exactly(matrix: Tensor) -> Factors:
    """The matrix and an identity on its smaller side."""
    m, n = matrix.shape
    if m <= n:
        return Factors(torch.eye(m, dtype=matrix.dtype), matrix)
    return Factors(matrix, torch.eye(n, dtype=matrix.dtype))


def lost_energy(S: Tensor, total: Tensor) -> float:
    """1 - ‖S‖² / total; 0 of a zero matrix."""
    return max(0.0, float(1 - S.square().sum() / total)) if total > 0 else 0.0


def leading(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The leading singular triples of a matrix (m, n), float64: U (m, k), S (k,), Vᵀ (k, n), k = min(rank, m, n)."""
    if matrix.shape[0] > matrix.shape[1]:
        U, S, Vh = leading(matrix.mT, rank)
        return Vh.mT, S, U.mT
    m = matrix.shape[0]
    frame = _range(matrix, rank) if m > max(_EXACT, 4 * rank) else torch.linalg.eigh(matrix @ matrix.mT)[1][:, -rank:]
    U, S, Vh = torch.linalg.svd(frame.mT @ matrix, full_matrices=False)
    return frame @ U[:, :rank], S[:rank], Vh[:rank]


def _range(matrix: Tensor, rank: int) -> Tensor:
    """An orthonormal basis, a little wider than `rank`, close to the leading left singular vectors.

    Randomised subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4), with random numbers of its own.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], rank + _OVERSAMPLING, generator=generator, dtype=matrix.dtype)
    frame = torch.linalg.qr(matrix @ start)[0]
    for _ in range(_SWEEPS):
        frame = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.mT @ frame)[0])[0]
    return frame
