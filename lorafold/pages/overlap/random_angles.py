"""Principal angles of random subspaces, by exact sampling of small matrices.

n = ambient dimension; i, j = dimensions of two independent, uniformly random subspaces; a = min(i, j),
b = max(i, j); d = draws.

A fixed b-dimensional subspace splits a Gaussian frame (n, a) into W1 ~ Wishart_a(b) inside and W2 ~ Wishart_a(n - b)
outside, and the squared cosines are the eigenvalues of (W1 + W2)⁻¹ W1: the real Jacobi (MANOVA) ensemble. Both
W come from their Bartlett factors (a, a), so that the cost does not grow with n.

Sources: Absil, Edelman & Koev, Linear Algebra Appl. 414 (2006), for the ensemble; Bartlett, Proc. R. Soc. Edinburgh 53
(1933), for the factors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def random_angles(n: int, i: int, j: int, draws: int, random: np.random.Generator) -> Array:
    """Principal angles of random pairs in radians, ascending.  (d, a)

    For i + j > n the subspaces share i + j - n dimensions by force; the remaining angles are those of the
    complements, of dimensions n - i and n - j.

    Args:
        n: ambient dimension, >= max(i, j).
        i, j: dimensions, >= 1.
        draws: number of pairs.
        random: source of the draws.
    """
    a, b, shared = min(i, j), max(i, j), max(i + j - n, 0)
    free = _angles(n, a - shared, b - shared, draws, random)
    return np.concatenate([np.zeros((draws, shared)), free], axis=1)


def _angles(n: int, a: int, b: int, draws: int, random: np.random.Generator) -> Array:
    """For a <= b and a + b <= n.  (d, a)"""
    if a == 0:
        return np.zeros((draws, 0))
    inside, outside = (_bartlett(a, freedom, draws, random) for freedom in (b, n - b))
    whole = np.linalg.cholesky(_gram(inside) + _gram(outside))
    squared_cosines = np.linalg.eigvalsh(_gram(np.linalg.solve(whole, inside)))[:, ::-1]
    return np.arccos(np.sqrt(np.clip(squared_cosines, 0, 1)))


def _bartlett(a: int, freedom: int, draws: int, random: np.random.Generator) -> Array:
    """Lower triangular L with L Lᵀ ~ Wishart_a(freedom), freedom >= a.  (d, a, a)"""
    factor = np.tril(random.standard_normal((draws, a, a)), -1)
    row = np.arange(a)
    factor[:, row, row] = np.sqrt(random.chisquare(freedom - row, (draws, a)))
    return factor


def _gram(factor: Array) -> Array:
    return factor @ factor.swapaxes(-1, -2)
