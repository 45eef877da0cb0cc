"""Singular values and vectors of many small matrices at once, also on a GPU.

b = any number of matrices, p x q = their shape, k = min(p, q).

A GPU's library takes matrices of more than 32 rows one after another: 264 of 96 x 96 take 640 ms on an H200. The polar
decomposition M = W H is made of products alone; the eigenvectors V of H are right singular vectors, and WV left ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lorafold.geometry.eigen import eigh
from lorafold.geometry.frames import orthonormality_error

# The most rows and columns that a GPU decomposes in a batch.
_BATCHED = 32
# Relative to ‖M‖: less than rounding, and yet it gives every matrix full rank.
_NUDGE = 1e-16
# a and b of X <- a X + b X XᵀX. The first lets small singular values grow by 2.4, so often that of 1e-21 .35 becomes,
# and leaves none below .35 that is above, so that no digits are lost; the second ends it, with quadratic convergence.
_STEPS = [(1.5 * 1.6, -0.5 * 1.6**3)] * 55 + [(1.5, -0.5)] * 9
# The largest entry of |QᵀQ - I| for which frames are believed.
_ORTHONORMAL = 1e-10


class SVD(NamedTuple):
    """M = U diag(S) Vᵀ, as torch returns it."""

    U: Tensor  # (b, p, k)
    S: Tensor  # (b, k), descending
    Vh: Tensor  # (b, k, q)


def svd(matrix: Tensor) -> SVD:
    """The thin singular value decomposition of matrices (..., p, q): what `torch.linalg.svd` gives."""
    if max(matrix.shape[-2:]) <= _BATCHED or not matrix.is_cuda or not matrix.numel():
        return SVD(*torch.linalg.svd(matrix, full_matrices=False))
    U, S, Vh = polar_svd(matrix.flatten(0, -3).double())
    if not bool((torch.maximum(orthonormality_error(U), orthonormality_error(Vh.mT)) < _ORTHONORMAL).all()):
        return SVD(*torch.linalg.svd(matrix, full_matrices=False))
    return SVD(*(part.view(*matrix.shape[:-2], *part.shape[1:]).to(matrix.dtype) for part in (U, S, Vh)))


def svdvals(matrix: Tensor) -> Tensor:
    """Singular values alone, descending.  (..., k)"""
    return svd(matrix).S if matrix.is_cuda else torch.linalg.svdvals(matrix)


def polar_svd(matrix: Tensor) -> SVD:
    """The same of float64 (b, p, q), from W = M (MᵀM)^-½ and the eigenvectors of H = WᵀM.

    Newton-Schulz iterations bring all singular values to 1; it takes dozens, since a matrix may be singular but for
    rounding. The factor of a singular matrix is not unique, and that of one nearby serves.

    Source: Higham & Papadimitriou, "A parallel algorithm for computing the polar decomposition", Parallel Comput. 20
    (1994); Chen & Chow, "A stable scaling of Newton-Schulz for improving the sign function computation of a Hermitian
    matrix" (2014), for the scaling.
    """
    if matrix.shape[-2] < matrix.shape[-1]:
        U, S, Vh = polar_svd(matrix.mT)
        return SVD(Vh.mT, S, U.mT)
    W = _polar(matrix)
    H = W.mT @ matrix
    values, V = eigh((H + H.mT) / 2)
    V = V.flip(-1)
    return SVD(W @ V, values.flip(-1).clamp_min(0), V.mT)


def _polar(matrix: Tensor) -> Tensor:
    largest = matrix.abs().amax((1, 2), keepdim=True)
    unit = matrix / torch.where(largest > 0, largest, 1.0)
    norm = torch.linalg.matrix_norm(unit)[:, None, None]
    X = unit / torch.where(norm > 0, norm, 1.0) + _NUDGE * _frame(matrix)
    for first, third in _STEPS:
        X = torch.baddbmm(X, X, X.mT @ X, beta=first, alpha=third)
    return X


def _frame(like: Tensor) -> Tensor:
    """Orthonormal columns without structure.  (p, q)"""
    source = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(like.shape[-2:], generator=source, dtype=like.dtype)).Q.to(like.device)
