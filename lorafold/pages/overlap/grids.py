"""φ(i, j) of every module, small enough for a page: 8 bits a value, and thinned out where there are too many.

k, l = dimensions of the two subspaces: the shape of a grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lorafold.pages.packing import packed

SIDES = ("left", "right")
_CELLS = 3_000_000  # at most, in all: 4 MB of base64

Grids = Mapping[tuple[int, int], Mapping[str, Mapping[str, ArrayLike]]]  # pair -> module -> side -> (k, l)


def step_of(grids: Grids) -> int:
    """The smallest step such that every step-th row and column of all grids make few enough cells."""
    shapes = list(_shapes(grids))
    return next(
        step for step in count(1) if sum(-(-rows // step) * -(-columns // step) for rows, columns in shapes) <= _CELLS
    )


def packed_grid(grid: ArrayLike | None, step: int) -> list[Any] | None:
    """[largest value, k, l, base64 of every step-th row and column up to the last]; None without cells.

    Of the R = ⌈k / step⌉ rows, number 0 <= r < R is i = k - step (R - 1 - r), likewise for columns: φ(k, l) is kept.
    """
    cells = np.fmax([] if grid is None else grid, 0)  # NaN becomes 0
    if cells.ndim != 2 or cells.size == 0:
        return None
    thin = cells[::-step, ::-step][::-1, ::-1]
    top = float(thin.max()) or 1.0
    return [top, *cells.shape, packed(thin, top, "u1")]


def _shapes(grids: Grids) -> Iterable[tuple[int, int]]:
    for modules in grids.values():
        for sides in modules.values():
            for side in SIDES:
                shape = np.shape(sides.get(side, ()))
                if len(shape) == 2:
                    yield shape
