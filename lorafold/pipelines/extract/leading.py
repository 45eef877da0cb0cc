"""The leading singular triples of one large matrix by block Krylov iteration, with the error that they leave.

p <= q = sides of the matrix D, b = width of a block, L = columns so far, k = triples wanted, T = ‖D‖².

Q (p, L) is an orthonormal basis of the Krylov space of D Dᵀ from a random block, Z = DᵀQ, and H = ZᵀZ = QᵀDDᵀQ with
the eigenvalues θ₁ >= θ₂ >= ... . The best rank-k approximation within the space leaves exactly T - Σθᵢ (i <= k). The
residuals of its eigenvectors w, ‖(I - QQᵀ) DDᵀ Q w‖, need only the last block, and say how much more the best of all
could hold: eigenvalues rise by at most

    Σ (λᵢ - θᵢ)  <=  Σ_{i<=s} ‖residualᵢ‖² / (θ_k - c_s)      for any s >= k

where c_s bounds D Dᵀ off the first s vectors (by Schur complements; see Parlett, "The Symmetric Eigenvalue Problem",
ch. 11). Nothing but the captured spectrum says what c_s is: taken is θ_{s+1}, near which D Dᵀ has an eigenvalue, and
twice its residual. Iteration ends when the bound is little of what is left.

Source: Musco & Musco, "Randomized block Krylov methods for stronger and faster approximate singular value
decomposition", NeurIPS 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import torch
from torch import Tensor

from lorafold.common.blocks import square_norm

_OVERSAMPLING = 8
# How far the error may be above that of the optimum.
_EXCESS = 0.01
# Below so many rows or columns a dense decomposition takes no time.
_DENSE = 192
# Blocks, at most; of a spectrum so flat the first vectors are as good as any others.
_MOST = 12
# Of T, by dtype: what is left by rounding.
_NOTHING = {torch.float32: 1e-10, torch.float64: 1e-24}


@dataclass(frozen=True)
class Leading:
    """D ≈ left diag(sigma) rightᵀ.

    Args:
        left, right: (m, k), (n, k), orthonormal columns, as far as sigma is more than rounding.
        sigma: (k,), descending, float64.
        excess: estimate from above of how far ‖D - approximation‖ is over the optimum, relatively; 0 of a dense one.
        blocks: iterations.
    """

    left: Tensor
    sigma: Tensor
    right: Tensor
    excess: float = 0.0
    blocks: int = 0


def leading(matrix: Tensor, rank: int, generator: torch.Generator, exact: bool = False) -> Leading:
    """The first `rank` singular triples of a matrix (m, n), float32 or float64, to 1 % of the optimal error.

    Args:
        exact: by a dense decomposition, in float64.
    """
    p = min(matrix.shape)
    rank = min(rank, p)
    if exact or p <= max(_DENSE, 2 * (rank + _OVERSAMPLING)):
        U, S, Vh = torch.linalg.svd(matrix.double(), full_matrices=False)
        return Leading(U[:, :rank].to(matrix.dtype), S[:rank], Vh[:rank].mT.to(matrix.dtype))
    if matrix.shape[0] > matrix.shape[1]:
        found = leading(matrix.mT, rank, generator)
        return Leading(found.right, found.sigma, found.left, found.excess, found.blocks)
    return _krylov(matrix, rank, generator)


def _krylov(D: Tensor, k: int, generator: torch.Generator) -> Leading:
    """Of a matrix that is not higher than wide."""
    total = square_norm(D)
    start = torch.randn(D.shape[1], k + _OVERSAMPLING, generator=generator).to(D)
    block = torch.linalg.qr(D @ start).Q
    Q, Z = block, D.new_empty(D.shape[1], 0)
    for blocks in range(1, _MOST + 1):
        newest = D.mT @ block
        Z = torch.cat([Z, newest], 1)
        residual = _orthogonal(D @ newest, Q)
        theta, W = _ritz(Z)
        gain = _gain(theta, W[-block.shape[1] :], residual, k)
        left = max(0.0, total - float(theta[:k].sum()))
        full = Q.shape[1] + block.shape[1] > len(D)
        if gain <= max((1 - (1 + _EXCESS) ** -2) * left, _NOTHING[D.dtype] * total) or full or blocks == _MOST:
            break
        block = _orthogonal(torch.linalg.qr(residual).Q, Q)
        block = torch.linalg.qr(block).Q
        Q = torch.cat([Q, block], 1)
    sigma, W = theta[:k].sqrt(), W[:, :k].to(D.dtype)
    right = Z @ W / torch.where(sigma > 0, sigma, 1.0).to(D.dtype)
    return Leading(Q @ W, sigma, right, _excess(left, gain, _NOTHING[D.dtype] * total), blocks)


def _ritz(Z: Tensor) -> tuple[Tensor, Tensor]:
    """θ, descending, and the eigenvectors of H, float64."""
    wide = Z.double()
    values, vectors = torch.linalg.eigh(wide.mT @ wide)
    return values.flip(0).clamp_min(0), vectors.flip(1)


def _orthogonal(block: Tensor, Q: Tensor) -> Tensor:
    """What the block has outside the span of Q; twice, for rounding."""
    for _ in range(2):
        block = block - Q @ (Q.mT @ block)
    return block


def _gain(theta: Tensor, last: Tensor, residual: Tensor, k: int) -> float:
    """How much more than Σθ the best k could hold; the residuals have coordinates in the last block alone."""
    gram = residual.double().mT @ residual.double()
    squares = (last * (gram @ last)).sum(0).clamp_min(0)
    gaps = theta[k - 1] - theta[k:] - 2 * squares[k:].sqrt()
    bounds = squares.cumsum(0)[k - 1 : -1][gaps > 0] / gaps[gaps > 0]
    return float(bounds.min()) if len(bounds) else inf


def _excess(left: float, gain: float, nothing: float) -> float:
    if left <= nothing:
        return 0.0
    return sqrt(left / (left - gain)) - 1 if gain < left else inf
