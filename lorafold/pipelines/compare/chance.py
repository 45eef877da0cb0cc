"""What overlaps mean beside random subspaces: tests on the modules of one pair, and what they say together.

Any two adapters of one base pass these tests; `null` has the question that says more.

s = side (0 left, 1 right), M = modules; NaN stands for a module in which a side cannot be compared. In numpy, as
`geometry.chance` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lorafold.geometry import expected_phi, holm, phi_p_value, phi_z_score

Array = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

# The smallest positive number: the logarithm of a p-value that underflows stays finite.
_TINY = float(np.finfo(np.float64).tiny)
# Of φ.
_TIE = 1e-12


@dataclass(frozen=True)
class Chance:
    """φ of independent uniform subspaces of the same dimensions, and how φ compares."""

    expected: Array  # (s, M)  max(k, l) / d with d = m, n
    z: Array  # (s, M)
    p: Array  # (s, M)  P(random φ >= φ)
    p_adjusted: Array  # (s, M)  Holm


@dataclass(frozen=True)
class SignTest:
    """Is the right overlap, less that of random subspaces, larger than the left one?"""

    compared: int  # modules in which the two differ
    larger: int  # of them, those where the right one is larger
    p: float | None  # P(so many or more) for fair coins; None if there is none to compare


def chance_of(phi: Array, sizes: Counts, dims: Counts) -> Chance:
    """Mean, z-score and p-values of φ (s, M) for random subspaces.

    p_adjusted is Holm's over all modules and both sides together: it holds under any dependence between them (the two
    sides of a module belong to one update), and whatever is <= alpha is all true with probability 1 - alpha.

    Args:
        phi: NaN where k or l is 0.
        sizes: m and n (s, M).
        dims: k and l (2, M).
    """
    finite = np.isfinite(phi)
    spaces = (sizes[finite], *(np.broadcast_to(row, phi.shape)[finite] for row in dims))
    p = phi_p_value(phi[finite], *spaces)
    columns = (expected_phi(*spaces), phi_z_score(phi[finite], *spaces), p, holm(p))
    return Chance(*(_spread(column, finite) for column in columns))


def combined_p(p_values: Array) -> float | None:
    """Fisher's combination: P(-2 Σ log p as large or larger) by χ² with 2 M degrees of freedom.

    Exact for modules whose subspaces are independent of each other, which the null hypothesis implies; NaN are left
    out. None if nothing is left. Source: Fisher, "Statistical Methods for Research Workers", 4th ed. (1932), § 21.1.
    """
    from scipy.special import gammaincc  # type: ignore[import-untyped]

    p = p_values[np.isfinite(p_values)]
    return float(gammaincc(p.size, -np.log(np.maximum(p, _TINY)).sum())) if p.size else None


def sign_test(excess: Array) -> SignTest:
    """One-sided paired sign test over modules on φ - E φ (s, M), right against left; ties are dropped.

    A tie is what rounding alone tells apart, as where one of two subspaces holds the other: φ = 1 on either side.
    """
    from scipy.special import bdtrc

    difference = excess[1] - excess[0]
    larger, compared = int((difference > _TIE).sum()), int((np.abs(difference) > _TIE).sum())
    return SignTest(compared, larger, float(bdtrc(larger - 1, compared, 0.5)) if compared else None)


def _spread(values: Array, where: np.ndarray[Any, np.dtype[np.bool_]]) -> Array:
    result = np.full(where.shape, np.nan)
    result[where] = values
    return result
