"""An overlap beside draws from an empirical null: other pairs of adapters, or layers that do not belong together.

n = draws beside the pair's own overlap, which is number 0; s = side (0 left, 1 right), M = modules. In numpy; NaN where
a draw lacks a module.

All draws of a module are φ of subspaces of the same two dimensions, so that no rank is at an advantage. If the pair and
what it is compared with are exchangeable, each of the n + 1 overlaps is as likely as any other to be the largest: that
is all that the p-values rest on, (1 + k) / (1 + n) with k draws at least as large. None is below 1 / (1 + n).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from lorafold.common.text import brief

Array = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

# Of a normal distribution so much lies below one standard deviation.
_ONE_SD = 0.8413
# φ or effects that differ by less are ties, and count against the pair.
_TIE = 1e-6


@dataclass(frozen=True)
class Draws:
    """φ of the pair and of the draws, at the dimensions that all of them have."""

    phi: Array  # (1 + n, s, M)  the pair's own first
    dims: Counts  # (2, M)  leading directions of the two subspaces; 0 without any

    __repr__ = brief


@dataclass(frozen=True)
class Null:
    """How a pair compares with the draws, module by module and on the whole."""

    phi: Array  # (s, M)
    dims: Counts  # (2, M)
    draws: Counts  # (s, M)
    median: Array  # (s, M)  of the draws
    spread: Array  # (s, M)
    effect: Array  # (s, M)  (φ - median) / spread
    p: Array  # (s, M)
    p_adjusted: Array  # (s, M)  NaN where n is too small to decide anything
    mean_effect: Array  # (s,)
    mean_p: Array  # (s,)  of the mean effect

    __repr__ = brief


def null_of(draws: Draws, least_spread: Array, alpha: float) -> Null:
    """Median, spread, effect and p-values of the pair's own overlaps.

    The effect of an overlap is its distance from the median of the others in units of their spread, the distance from
    there to their quantile at one standard deviation, at least that of random subspaces. Of every draw the same is
    asked in turn, with the pair among the others. p_adjusted compares with the largest effect that a draw has in any
    module (Westfall & Young, 1993): whatever is <= alpha is all true with probability 1 - alpha, over all modules and
    both sides, however they depend on each other. Modules of other draws are families of their own, as many as n can
    serve, and p is multiplied by the number of families.

    Args:
        draws: see `Draws`.
        least_spread: standard deviation of φ of random subspaces of these dimensions (s, M); where it is 0, φ cannot
            vary, and is not tested.
        alpha: significance level.
    """
    shape = draws.phi.shape[1:]
    values = draws.phi.reshape(len(draws.phi), -1)
    there = np.isfinite(values) & np.isfinite(values[0]) & (least_spread.reshape(-1) > 0)
    values = np.where(there, values, np.nan)
    median, spread = _of_the_others(values, there.sum(0), least_spread.reshape(-1))
    effects = (values - median) / spread
    mean_effect, mean_p = _on_the_whole(effects.reshape(-1, *shape))
    return Null(
        draws.phi[0],
        draws.dims,
        np.maximum(there.sum(0) - 1, 0).reshape(shape),
        median[0].reshape(shape),
        spread[0].reshape(shape),
        effects[0].reshape(shape),
        _p_values(values).reshape(shape),
        _family_wise(effects, alpha).reshape(shape),
        mean_effect,
        mean_p,
    )


def smallest_n(alpha: float) -> int:
    """Draws from which on a p-value can be <= alpha."""
    return ceil(1 / alpha - 1e-9) - 1


def smallest_panel(alpha: float) -> int:
    """Adapters in a panel that has so many other pairs: of P + 2 adapters (P + 2)(P + 1) / 2 - 1."""
    n, panel = smallest_n(alpha), 0
    while (panel + 2) * (panel + 1) // 2 - 1 < n:
        panel += 1
    return panel


def _of_the_others(values: Array, counts: Counts, least: Array) -> tuple[Array, Array]:
    """Median of what is left without the value itself, and spread above it; NaN without any other.  (1 + n, L) each"""
    order = np.argsort(values, axis=0, kind="stable")  # NaN last
    ordered = np.take_along_axis(values, order, 0)
    ranks = np.argsort(order, axis=0)
    last = np.maximum(counts - 2, 0)  # position of the largest other

    def at(position: Array) -> Array:
        """The others' value at a position from 0; between two, the mean by distance."""
        low, share = np.floor(position).astype(np.int64), position % 1
        ends = (low, np.minimum(low + 1, last))
        below, above = (
            np.take_along_axis(ordered, np.minimum(end + (end >= ranks), len(values) - 1), 0) for end in ends
        )
        return (1 - share) * below + share * above

    median = np.where(counts > 1, at(last / 2), np.nan)
    return median, np.maximum(at(_ONE_SD * last) - median, least)


def _p_values(values: Array) -> Array:
    """(1 + k) / (1 + n) of number 0; NaN where it or every draw is missing."""
    larger = (values[1:] >= values[0] * (1 - _TIE)).sum(0)
    n = np.isfinite(values[1:]).sum(0)
    return np.where(n > 0, (1 + larger) / (1 + n), np.nan)


def _family_wise(effects: Array, alpha: float) -> Array:
    adjusted = np.full(effects.shape[1], np.nan)
    families = _families(np.isfinite(effects), alpha)
    for members in families:
        own = effects[:, members]
        largest = own[np.isfinite(own).all(1)].max(1)  # the pair's own first
        larger = (largest[1:, None] >= own[0] - _TIE).sum(0)
        adjusted[members] = np.minimum(1, len(families) * (1 + larger) / len(largest))
    return adjusted


def _families(there: Bools, alpha: float) -> list[Counts]:
    """Modules and sides that share their draws: the largest number of families of which each can reach alpha."""
    tested = np.flatnonzero(there[0])
    if not tested.size:
        return []
    patterns, family = np.unique(there[:, tested], axis=1, return_inverse=True)
    sizes = patterns.sum(0)  # 1 + n
    order = np.argsort(-sizes, kind="stable")
    served = [count for count in range(1, len(order) + 1) if count <= alpha * sizes[order[count - 1]] * (1 + 1e-9)]
    return [tested[family.reshape(-1) == which] for which in order[: max(served, default=0)]]


def _on_the_whole(effects: Array) -> tuple[Array, Array]:
    """The pair's mean effect per side, and its p-value among those of the draws, each over what both have."""
    counts = np.isfinite(effects).sum(2)
    behind = np.nansum(effects[0] - effects[1:], 2)  # (n, s)
    compared = counts[1:] > 0
    larger = (compared & (behind <= _TIE * counts[1:])).sum(0)
    known = compared.any(0)
    mean = np.where(known, np.nansum(effects[0], 1) / np.maximum(counts[0], 1), np.nan)
    return mean, np.where(known, (1 + larger) / (1 + compared.sum(0)), np.nan)
