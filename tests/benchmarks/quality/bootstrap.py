"""Paired bootstrap over examples and over sets of adapters.

A replicate draws, with replacement, the examples of every task and the sets. It draws the same ones for every
configuration, and the same examples of a task in all sets and for all of its variants, so that differences are paired.

B = replicates, s = sets, e = examples. Row 0 of every table is what was observed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quality.scorer import Correct

Table = NDArray[np.float64]  # (1 + B, s)
_COVERAGE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over sets and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """Of one configuration, for every replicate and set: the mean and the least normalized accuracy of the tasks."""

    normalized: Table
    worst: Table


class Bootstrap:
    """Replicates from a seed; `tasks` is the task of every adapter."""

    def __init__(self, tasks: Mapping[str, str], replicates: int, seed: int) -> None:
        self._tasks, self._size, self._seed = tasks, replicates, seed
        self._draws: dict[tuple[str, int], NDArray[np.float64]] = {}

    def scores(self, merges: Sequence[Mapping[str, Correct]], alone: Mapping[str, Correct]) -> Scores:
        """Of some sets: whether the examples of its adapters are correct after the merge, and with each adapter alone.

        Normalized accuracy is accuracy after the merge / accuracy with the adapter alone.
        """
        ratios = [[self._ratio(name, bits, alone[name]) for name, bits in merge.items()] for merge in merges]
        means, least = ([reduce(rows, axis=0) for rows in ratios] for reduce in (np.mean, np.min))
        return Scores(np.stack(means, 1), np.stack(least, 1))

    def estimate(self, table: Table) -> Estimate:
        """The mean over the sets; a difference of two configurations is the difference of their tables."""
        means = (table * self._counts("sets", table.shape[1])).mean(1)
        value, drawn = means[0], means[1:]
        # The least of noisy numbers is lower in replicates than in truth: only the spread around their mean counts.
        low, high = value + np.quantile(drawn, [(1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2]) - drawn.mean()
        return Estimate(float(value), float(low), float(high))

    def _ratio(self, name: str, merged: Correct, alone: Correct) -> NDArray[np.float64]:
        counts = self._counts(f"task {self._tasks[name]}", len(merged))
        return (counts @ merged) / (counts @ alone)

    def _counts(self, what: str, size: int) -> NDArray[np.float64]:
        """How often each of `size` things is drawn.  (1 + B, size)"""
        if (what, size) not in self._draws:
            random = np.random.default_rng([self._seed, zlib.crc32(what.encode()), size])
            drawn = random.multinomial(size, np.full(size, 1 / size), self._size)
            self._draws[what, size] = np.vstack([np.ones((1, size)), drawn])
        return self._draws[what, size]
