"""Eigenvectors of many small symmetric matrices at once, also on a GPU.

b = any number of matrices, n = their size, h = pairs of blocks, w = columns of a pair.

Up to 2.11 torch hands matrices of more than 32 rows to a GPU's library one after another: 264 of 96 x 96 take 330 ms on
an H200. The library's solver for batches takes 2.5; where it cannot be reached, block Jacobi makes of the large problem
many of 32 rows, and takes 46.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from lorafold.geometry._cusolver import batched_eigh
from lorafold.geometry.frames import orthonormality_error

# The most rows that a GPU decomposes in a batch.
_BATCHED = 32
# torch's own choice is a solver for batches of any size.
_TORCH_IS_BATCHED = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 12)
# The largest entry of |QᵀQ - I| with which a library's eigenvectors are believed.
_ORTHONORMAL = 1e-10
# Of ‖A‖ and for each row: what is left off the diagonal where a matrix counts as diagonal.
_TOLERANCE = 4 * torch.finfo(torch.float64).eps
# Sweeps; six or seven are enough for all that was seen.
_MOST = 30


class Eigen(NamedTuple):
    """A = Q diag(λ) Qᵀ."""

    values: Tensor  # λ (b, n), ascending
    vectors: Tensor  # Q (b, n, n)


def eigh(form: Tensor) -> Eigen:
    """Eigenvalues and eigenvectors of symmetric matrices (..., n, n): what `torch.linalg.eigh` gives.

    Raises:
        torch.linalg.LinAlgError: NaN or Inf.
        ArithmeticError: no convergence.
    """
    if form.shape[-1] <= _BATCHED or not form.is_cuda or not form.numel():
        return Eigen(*torch.linalg.eigh(form))
    values, vectors = _on_gpu(form.flatten(0, -3).double())
    return Eigen(values.view(form.shape[:-1]).to(form.dtype), vectors.view(form.shape).to(form.dtype))


def eigvalsh(form: Tensor) -> Tensor:
    """Eigenvalues alone, ascending.  (..., n)"""
    return eigh(form).values if form.is_cuda else torch.linalg.eigvalsh(form)


def _on_gpu(form: Tensor) -> Eigen:
    """The fastest that gives an orthonormal basis; libraries for batches have been known not to."""
    found = torch.linalg.eigh(form) if _TORCH_IS_BATCHED else batched_eigh(form)
    if found is None or not bool((orthonormality_error(found[1]) < _ORTHONORMAL).all()):
        return block_jacobi(form)
    return Eigen(*found)


def block_jacobi(form: Tensor) -> Eigen:
    """The same of (b, n, n) by rotations of pairs of blocks of columns, each of which makes a small block diagonal.

    In a sweep every block meets every other once, all pairs of a round at the same time. Convergence is quadratic at
    the end, and errors stay near rounding, for each step is an orthogonal similarity.

    Source: Golub & Van Loan, "Matrix Computations" (4th ed.), section 8.5.6.
    """
    count, n = form.shape[:2]
    pairs = -(-n // _BATCHED)
    block = -(-n // (2 * pairs))
    unit, size = _normalised(form.double())
    A = _padded(unit, 2 * pairs * block)
    Q = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).repeat(count, 1, 1)
    going = torch.arange(count, device=A.device)
    for _ in range(_MOST):
        going = going[~_is_diagonal(A[going])]
        if not len(going):
            break
        whole = len(going) == count
        swept = _sweep(torch.cat([A, Q] if whole else [A[going], Q[going]], 1), pairs, block)
        if whole:
            A, Q = swept.chunk(2, 1)
        else:
            A[going], Q[going] = swept.chunk(2, 1)
    else:
        raise ArithmeticError(f"eigh: {len(going)} of {count} matrices did not converge in {_MOST} sweeps")
    values, order = A.diagonal(dim1=-2, dim2=-1).sort(-1)
    order = order[:, -n:]  # what was padded comes first
    vectors = torch.gather(Q[:, :n], 2, order[:, None, :].expand(count, n, n))
    return Eigen((values[:, -n:] * size[:, None]).to(form.dtype), _orthonormalised(vectors).to(form.dtype))


def _normalised(form: Tensor) -> tuple[Tensor, Tensor]:
    """A / ‖A‖ and ‖A‖ (b,), whose square may be out of range."""
    largest = form.abs().amax((1, 2))
    unit = form / torch.where(largest > 0, largest, 1.0)[:, None, None]
    norm = torch.linalg.matrix_norm(unit)
    return unit / torch.where(norm > 0, norm, 1.0)[:, None, None], largest * norm


def _padded(form: Tensor, size: int) -> Tensor:
    """The matrix, of norm 1, with rows and columns that take no part: their eigenvalues are below all others."""
    more = size - form.shape[-1]
    padded = torch.nn.functional.pad(form, (0, more, 0, more))
    padded.diagonal(dim1=-2, dim2=-1)[:, form.shape[-1] :] = -2
    return padded


def _is_diagonal(A: Tensor) -> Tensor:
    """(b,)"""
    rest = A - torch.diag_embed(A.diagonal(dim1=-2, dim2=-1))
    return torch.linalg.matrix_norm(rest) <= A.shape[-1] * _TOLERANCE


def _sweep(stacked: Tensor, pairs: int, block: int) -> Tensor:
    """[A; Q] -> [RᵀAR; QR], R being the rotations of all pairs.  (b, 2 n, n)"""
    for order, back in _rounds(pairs, block, stacked.device):
        stacked = _rotated(stacked, order, back, pairs)
    return stacked


def _rotated(stacked: Tensor, order: Tensor, back: Tensor, pairs: int) -> Tensor:
    """One round: `order` brings the blocks of each pair side by side, `back` undoes it."""
    count, n = len(stacked), len(order)
    columns = stacked[:, :, order].view(count, 2 * n, pairs, -1).transpose(1, 2)  # (b, h, 2 n, w)
    rows = columns[:, :, order].view(count, pairs, pairs, -1, n // pairs)  # of A
    inner = rows.diagonal(dim1=1, dim2=2).permute(0, 3, 1, 2)  # (b, h, w, w)
    R = torch.linalg.eigh(inner).eigenvectors.flip(-1)
    turned = (columns @ R).transpose(1, 2).reshape(count, 2 * n, n)
    A = (R.mT @ turned[:, order].view(count, pairs, -1, n)).view(count, n, n)
    A = (A + A.mT) / 2
    return torch.cat([A[:, back], turned[:, n:]], 1)[:, :, back]


@cache
def _rounds(pairs: int, block: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """A tournament of blocks in which the first stays and the others go round; columns by pair, and back."""
    blocks = torch.arange(2 * pairs)
    rounds = []
    for _ in range(2 * pairs - 1):
        met = torch.stack([blocks[:pairs], blocks.flip(0)[:pairs]], 1).sort(1).values.flatten()
        order = (met[:, None] * block + torch.arange(block)).flatten()
        rounds.append((order.to(device), order.argsort().to(device)))
        blocks = torch.cat([blocks[:1], blocks[-1:], blocks[1:-1]])
    return rounds


def _orthonormalised(Q: Tensor) -> Tensor:
    """A step of Newton-Schulz: what dozens of rotations have left of rounding is squared."""
    return torch.baddbmm(Q, Q, Q.mT @ Q, beta=1.5, alpha=-0.5)
