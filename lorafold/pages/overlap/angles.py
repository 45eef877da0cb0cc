"""Principal angles of all modules of a pair against those of random subspaces of the same dimensions.

n = ambient dimension; i, j = dimensions of the two subspaces; a = min(i, j).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from lorafold.pages.overlap.random_angles import Array, random_angles

Json = dict[str, Any]
Dimensions = tuple[int, int, int]  # n, i, j

RIGHT_ANGLE = 90.0  # degrees, as all angles on the page
BIN = 2.5
_EDGES = np.arange(0, RIGHT_ANGLE + BIN, BIN)
_ANGLES = 8192  # sampled for each (n, i, j)
_DRAWS = 16  # at least
_DISTINCT = 32  # (n, i, j) sampled for one pair and side; of more, an evenly spaced choice of modules
_QUANTILES = (0.05, 0.95)
_SEED = 0


@dataclass(frozen=True)
class RandomPair:
    """What a random pair looks like; all angles in degrees."""

    shares: Array  # of its angles, per bin of the histogram
    low: Array  # 5 % quantile of the first, second, ... angle in ascending order (a,)
    high: Array  # 95 % quantile (a,)


def random_pair(n: int, i: int, j: int) -> RandomPair:
    """By simulation with a seed that depends on n, min(i, j) and max(i, j) alone."""
    return _simulated(n, min(i, j), max(i, j))


@cache
def _simulated(n: int, a: int, b: int) -> RandomPair:
    draws = max(_DRAWS, _ANGLES // a)
    degrees = np.rad2deg(random_angles(n, a, b, draws, np.random.default_rng((_SEED, n, a, b))))
    low, high = np.quantile(degrees, _QUANTILES, axis=0)
    return RandomPair(_shares(degrees), low, high)


def histogram(modules: Sequence[tuple[Dimensions, Sequence[float]]]) -> Json | None:
    """Shares of the angles per bin, as found and as random subspaces would have them; None without any angle.

    Args:
        modules: n, i, j and the angles in radians of every module that has some.
    """
    if not modules:
        return None
    all_angles = np.concatenate([np.asarray(angles, dtype=np.float64) for _, angles in modules])
    weights = Counter({size: count * min(size[1:]) for size, count in representative(modules).items()})
    random = sum(weight * random_pair(*size).shares for size, weight in weights.items()) / weights.total()
    return {"bin": BIN, "found": _shares(np.rad2deg(all_angles)), "random": random, "angles": all_angles.size}


def representative(modules: Sequence[tuple[Dimensions, Sequence[float]]]) -> Counter[Dimensions]:
    """How many modules have which n, i, j; if these differ too much, of evenly spaced modules only."""
    sizes = sorted(size for size, _ in modules)
    if len(set(sizes)) > _DISTINCT:
        sizes = [sizes[round(step)] for step in np.linspace(0, len(sizes) - 1, _DISTINCT)]
    return Counter(sizes)


def _shares(degrees: Array) -> Array:
    return np.histogram(degrees, _EDGES)[0] / degrees.size
