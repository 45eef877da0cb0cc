"""Principal angles of random subspaces, by exact sampling of small matrices.

n = ambient dimension; i, j = dimensions of two independent, uniformly random subspaces; a = min(i, j),
b = max(i, j); d = draws.

The squared cosines are the eigenvalues of the real Jacobi (MANOVA) ensemble, and these are the squared singular values
of a bidiagonal matrix (a, a) whose entries are products of independent cosines and sines with Beta-distributed squares:
the cost does not grow with n, and no matrix is factored on the way.

Sources: Absil, Edelman & Koev, Linear Algebra Appl. 414 (2006), for the ensemble; Edelman & Sutton, "The beta-Jacobi
matrix model, the CS decomposition, and generalized singular value problems", Found. Comput. Math. 8 (2008).
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
    k = np.arange(a, 0, -1)
    inside = random.beta((b - a + k) / 2, (n - b - a + k) / 2, (draws, a))  # squared cosines
    across = random.beta(k[1:] / 2, (n - 2 * a + 1 + k[1:]) / 2, (draws, a - 1))
    diagonal = np.sqrt(inside)
    diagonal[:, 1:] *= np.sqrt(1 - across)
    above = np.sqrt((1 - inside[:, :-1]) * across)
    squared_cosines = np.linalg.eigvalsh(_gram(diagonal, above))[:, ::-1]
    return np.arccos(np.sqrt(np.clip(squared_cosines, 0, 1)))


def _gram(diagonal: Array, above: Array) -> Array:
    """B Bᵀ of upper bidiagonal B; of a tridiagonal matrix the sign beside the diagonal changes no eigenvalue."""
    draws, a = diagonal.shape
    product, row = np.zeros((draws, a, a)), np.arange(a)
    product[:, row, row] = diagonal**2
    product[:, row[:-1], row[:-1]] += above**2
    product[:, row[1:], row[:-1]] = product[:, row[:-1], row[1:]] = above * diagonal[:, 1:]
    return product
