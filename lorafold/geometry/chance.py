"""What φ is by chance: its distribution for independent, uniformly random subspaces.

n = ambient dimension, i and j = dimensions of the two subspaces, 1 <= i, j <= n; a = min(i, j), b = max(i, j). All
functions broadcast over arrays, in numpy and scipy: torch has no incomplete beta function.

With T = ‖Xᵀ Y‖_F² = a φ, a random pair has E φ = b / n and a known exact variance. For i + j <= n, T is Pillai's
trace; its Beta approximation with both exact moments is closer than the usual F approximation (whose variance
is too large), and exact for a = 1. For i + j > n the subspaces share i + j - n dimensions by force, and
T = i + j - n + T' with T' of the complements, of dimensions n - i and n - j.

Uniform subspaces are a weak null hypothesis: adapters that share the initialisation of a factor overlap far more
than chance without having learnt anything in common.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lorafold.common.errors import LorafoldError

Array = np.ndarray[Any, np.dtype[np.float64]]


def expected_phi(n: ArrayLike, i: ArrayLike, j: ArrayLike) -> Array:
    """E φ = max(i, j) / n."""
    n, i, j = _dimensions(n, i, j)
    return np.maximum(i, j) / n


def phi_sd(n: ArrayLike, i: ArrayLike, j: ArrayLike) -> Array:
    """Exact standard deviation of φ = T / a: Var T = 2 i j (n - i)(n - j) / (n² (n - 1)(n + 2)).

    By Schur's lemma on traceless symmetric matrices: the centred projectors are two of them, one turned by a Haar
    rotation. 0 if a subspace is the whole space.
    """
    n, i, j = _dimensions(n, i, j)
    variance = 2 * i * j * (n - i) * (n - j) / (n**2 * np.maximum(n - 1, 1) * (n + 2))
    return np.sqrt(variance) / np.minimum(i, j)


def phi_z_score(phi: ArrayLike, n: ArrayLike, i: ArrayLike, j: ArrayLike) -> Array:
    """(φ - E φ) / sd φ; 0 where φ cannot vary."""
    deviation, sd = np.asarray(phi, dtype=np.float64) - expected_phi(n, i, j), phi_sd(n, i, j)
    return np.where(sd > 0, deviation / np.where(sd > 0, sd, 1), 0.0)


def phi_p_value(phi: ArrayLike, n: ArrayLike, i: ArrayLike, j: ArrayLike) -> Array:
    """P(random φ >= phi), by the Beta distribution with the exact mean and variance; 1 where φ cannot vary.

    φ ~ Beta(ν b / n, ν (1 - b / n)) with ν = a (n - 1)(n + 2) / (2 (n - a)) - 1.

    Source: Pillai, Ann. Math. Stat. 26 (1955), for the Beta family; moments from `phi_sd`.
    """
    from scipy.special import betainc  # type: ignore[import-untyped]

    n, i, j = _dimensions(n, i, j)
    shared = np.maximum(i + j - n, 0)
    a, b = np.minimum(i, j) - shared, np.maximum(i, j) - shared  # of the complements where shared > 0
    varies = a > 0
    a_, b_ = np.where(varies, a, 1), np.where(varies, b, 1)
    free = (np.asarray(phi, dtype=np.float64) * np.minimum(i, j) - shared) / a_
    nu = a_ * (n - 1) * (n + 2) / (2 * np.maximum(n - a_, 1)) - 1
    alpha, beta = np.where(varies, nu * b_ / n, 1), np.where(varies, nu * (1 - b_ / n), 1)
    p = betainc(beta, alpha, 1 - np.clip(free, 0, 1))  # the upper tail itself: 1 - betainc would round to 0
    return np.where(varies, p, 1.0)


def holm(p_values: ArrayLike) -> Array:
    """Adjusted p-values (m,): those <= alpha are all true with probability >= 1 - alpha (family-wise error).

    Valid under any dependence. Source: Holm, Scand. J. Statist. 6 (1979).
    """
    p, order = _sorted(p_values)
    factors = np.arange(p.size, 0, -1)
    return _unsorted(np.maximum.accumulate(factors * p), order)


def benjamini_hochberg(p_values: ArrayLike) -> Array:
    """Adjusted p-values (m,): of those <= alpha an expected share of at most alpha is false (false discovery rate).

    Valid for independent or positively dependent tests. Source: Benjamini & Hochberg, J. R. Stat. Soc. B 57 (1995).
    """
    p, order = _sorted(p_values)
    factors = p.size / np.arange(1, p.size + 1)
    return _unsorted(np.minimum.accumulate((factors * p)[::-1])[::-1], order)


def _sorted(p_values: ArrayLike) -> tuple[Array, np.ndarray[Any, np.dtype[np.intp]]]:
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    return p[order], order


def _unsorted(values: Array, order: np.ndarray[Any, np.dtype[np.intp]]) -> Array:
    result = np.empty_like(values)
    result[order] = np.minimum(values, 1)
    return result


def _dimensions(n: ArrayLike, i: ArrayLike, j: ArrayLike) -> tuple[Array, Array, Array]:
    ambient, first, second = (np.asarray(size, dtype=np.float64) for size in (n, i, j))
    if np.any(np.minimum(first, second) < 1) or np.any(np.maximum(first, second) > ambient):
        raise LorafoldError(
            f"no subspaces have dimensions i = {i!r} and j = {j!r} in n = {n!r}, expected 1 <= i, j <= n",
            remedy="Leave modules without a subspace out.",
        )
    return ambient, first, second
