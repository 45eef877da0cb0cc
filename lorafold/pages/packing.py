"""Numbers as text that a browser reads back: plain JSON, and base64 of unsigned integers for what is many."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

_DIGITS = 5  # significant ones of a plain number: more than a page shows


def packed(values: ArrayLike, top: float, dtype: DTypeLike) -> str:
    """Values in [0, top] as base64 of little-endian unsigned integers, `top` being the largest; others are clipped.

    The error is at most top / 510 for "u1" and top / 131070 for "<u2".
    """
    levels = np.iinfo(np.dtype(dtype)).max
    shares = np.fmin(np.fmax(np.asarray(values, dtype=np.float64) / top, 0), 1)  # NaN becomes 0
    return b64encode(np.round(shares * levels).astype(dtype).tobytes()).decode("ascii")


def plain(value: Any) -> Any:
    """In JSON's own types: floats rounded to five significant digits, what is no finite number becomes null."""
    match value:  # what there is most of first
        case float():
            return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case list() | tuple() | np.ndarray():
            return [plain(item) for item in value]
        case np.generic():
            return plain(value.item())
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
    return str(value)
