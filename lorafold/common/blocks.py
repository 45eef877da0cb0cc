"""Large matrices a few rows at a time: what is computed of a block stays in the cache, and copies of it are small."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Numbers in a block: several of them, in float32, are in a core's cache.
_MOST = 1 << 18
# Where float32 squares neither overflow nor vanish.
_LEAST, _LARGEST = 1e-25, 1e35


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that cover the rows of a matrix."""
    height = max(1, _MOST // max(1, columns))
    yield from (slice(first, min(first + height, rows)) for first in range(0, rows, height))


def square_norm(matrix: Tensor) -> float:
    """‖matrix‖²: of every row in its own dtype, of all of them in float64, to some 1e-8 of itself in float32.

    In float64 throughout, which takes thirty times as long, where squares in float32 would overflow or vanish.
    """
    total = float(torch.linalg.vector_norm(torch.linalg.vector_norm(matrix, dim=1), dtype=torch.float64)) ** 2
    if _LEAST < total < _LARGEST or not matrix.any():
        return total
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2
