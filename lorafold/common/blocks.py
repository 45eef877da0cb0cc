"""Large matrices a few rows at a time: temporary copies stay small, and the system hands out their memory but once."""

from __future__ import annotations

from collections.abc import Iterator

# Numbers in a block.
_MOST = 1 << 20


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that cover the rows of a matrix."""
    height = max(1, _MOST // max(1, columns))
    yield from (slice(first, min(first + height, rows)) for first in range(0, rows, height))
