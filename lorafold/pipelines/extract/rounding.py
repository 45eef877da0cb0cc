"""What the rounding of two files adds to their difference, and which of its directions stand out from that.

m = out, n = in.

A number x in a format of p bits has an error of at most half a spacing, evenly spread: of variance spacing² / 12, which
is 0.541 (2^(1-p) x)² / 12 on average over a binade. The norm of a matrix of independent errors of variances v is hardly
above max_i (Σ_j v_ij)^½ + max_j (Σ_i v_ij)^½. Source: Bandeira & van Handel, "Sharp nonasymptotic bounds on the norm of
random matrices with independent entries", Ann. Probab. 44 (2016), theorem 1.1.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from lorafold.common.blocks import row_blocks

_BINADE = 0.541 / 12
# What the bound leaves out, which is most for small matrices.
_SAFETY = 1.5


class Rounding(NamedTuple):
    """What two files' rounding alone is expected to make of a difference.

    Args:
        energy: its ‖.‖².
        edge: its largest singular value.
    """

    energy: float
    edge: float


def rounding(weight: Tensor, *dtypes: torch.dtype) -> Rounding:
    """Of files that hold a matrix (m, n), or one close to it, in such formats."""
    m, n = weight.shape
    rows, columns = torch.empty(m, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for block in row_blocks(m, n):
        squares = weight[block].float().square()
        rows[block] = squares.sum(1).double()
        columns += squares.sum(0)
    relative = _BINADE * sum(torch.finfo(dtype).eps ** 2 for dtype in dtypes)
    least = sum(torch.finfo(dtype).smallest_normal ** 2 * torch.finfo(dtype).eps ** 2 for dtype in dtypes) / 12
    edge = sqrt(relative * float(rows.max()) + n * least) + sqrt(relative * float(columns.max()) + m * least)
    return Rounding(relative * float(rows.sum()) + m * n * least, _SAFETY * edge)
