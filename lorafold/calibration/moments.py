"""The second moment of a stream of vectors: its diagonal, and a sketch whose singular vectors are its leading ones.

n = width of the vectors, t = how many come at once, k = directions, l = lines that a sketch is reduced to.

Incremental truncated SVD: S (l, n) stands for the vectors so far, SᵀS ≈ Σ x xᵀ; it takes in new ones, and where they
become too many, it is replaced by the leading part of its singular value decomposition. Frequent directions (Liberty
2013) also subtract the last singular value, which bounds the error but takes a fifth to a half from the eigenvalues of
real activations; without, the leading sixteen of l = 48 are true to a percent or better.
"""

from __future__ import annotations

import torch
from torch import Tensor

# A sketch keeps more lines than directions will be asked of it: what is cut off early may have been a leading one.
_SPARE = 16
# Vectors that are taken in at once: they are copied.
_AT_ONCE = 1024
# Of the range finder (Halko, Martinsson & Tropp 2011, algorithm 4.4), which spares large batches their Gram matrix.
_POWER_STEPS = 2
# An eigenvalue below this share of the largest is rounding.
_SMALLEST = 1e-10


class RunningMoments:
    """Takes in vectors, and forgets them."""

    def __init__(self, n: int, directions: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """`dtype` is that of the sketch; sums are float64."""
        self.count = 0
        self._squares = torch.zeros(n, dtype=torch.float64, device=device)
        self._lines = 0 if directions == 0 else min(n, 2 * directions + _SPARE)
        self._sketch = torch.zeros(0, n, dtype=dtype, device=device)

    def add(self, x: Tensor) -> None:
        """Vectors (t, n)."""
        for part in torch.split(x, _AT_ONCE):
            self.count += len(part)
            rows = part.to(self._sketch.dtype)
            self._squares += torch.linalg.vector_norm(rows, dim=0).double().square()
            if self._lines and self._squares.isfinite().all():  # else there is nothing to know
                rows = torch.cat([self._sketch, rows])
                self._sketch = rows if len(rows) <= 2 * self._lines else _reduced(rows, self._lines)

    def add_tokens(self, tokens: Tensor) -> None:
        """Unit vectors, by where their 1 is (t,): what an embedding reads."""
        self.count += len(tokens)
        self._squares += torch.bincount(tokens, minlength=len(self._squares))

    @property
    def diagonal(self) -> Tensor:
        """Of E[x xᵀ], in float64.  (n,)"""
        return self._squares / max(self.count, 1)

    def eigenpairs(self, k: int) -> tuple[Tensor, Tensor]:
        """Of E[x xᵀ]: eigenvectors (n, k) and eigenvalues (k,) in float64, the largest first; fewer if it has fewer."""
        rows = self._sketch.double()
        if not (k and len(rows)):
            return rows.new_zeros(rows.shape[1], 0), rows.new_zeros(0)
        lines = _exact(rows, k) if len(rows) <= rows.shape[1] else _projected(rows, _identity(rows), k)
        squares = lines.square().sum(1)
        known = squares > _SMALLEST * squares.max()
        return (lines[known] / squares[known, None].sqrt()).mT, squares[known] / self.count


def _reduced(rows: Tensor, lines: int) -> Tensor:
    """(l, n): the leading singular values times right singular vectors of the rows, the largest first."""
    if rows.shape[1] <= lines:
        return _projected(rows, _identity(rows), lines)
    return _exact(rows, lines) if len(rows) <= 4 * lines else _projected(rows, _range(rows, lines), lines)


def _exact(rows: Tensor, lines: int) -> Tensor:
    """From the Gram matrix of a few rows."""
    wide = rows.double()
    vectors = torch.linalg.eigh(wide @ wide.mT).eigenvectors
    return (vectors.mT @ wide).flip(0)[:lines].to(rows.dtype)


def _projected(rows: Tensor, basis: Tensor, lines: int) -> Tensor:
    """From an orthonormal basis (n, p) of where the rows lie."""
    inner = (rows @ basis).double()
    values, vectors = torch.linalg.eigh(inner.mT @ inner)
    found = values.clamp_min(0).sqrt()[:, None] * (basis.double() @ vectors).mT
    return found.flip(0)[:lines].to(rows.dtype)


def _identity(rows: Tensor) -> Tensor:
    return torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)


def _range(rows: Tensor, lines: int) -> Tensor:
    """(n, l): an orthonormal basis near the leading right singular vectors; the same for the same rows."""
    mix = torch.randn(lines, len(rows), generator=torch.Generator().manual_seed(0)).to(rows)
    basis = torch.linalg.qr((mix @ rows).mT)[0]
    for _ in range(_POWER_STEPS):
        basis = torch.linalg.qr(rows.mT @ (rows @ basis))[0]
    return basis
