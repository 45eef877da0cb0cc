"""What a merge says beside its numbers: that something looks like a mistake, or that an adapter all but vanishes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch

from lorafold.adapters import Adapter
from lorafold.adapters.module import identical
from lorafold.pipelines.merge.bucket import MergedBucket
from lorafold.pipelines.merge.plan import Plan
from lorafold.pipelines.merge.weights import Weights

_log = logging.getLogger(__name__)
# Coefficients, or sums of them, beyond this are hardly meant; a sum of more adapters may be as large as their number.
_STRONG = 10
# Mean share of an adapter's energy inside the merged subspaces: what is said, and what a remedy has to keep of each.
_VANISHING, _KEPT = 0.25, 0.95
_ROUNDING = 1e-9
_NAMED = 3
# Of more adapters no other rank is tried: each costs more than the merge, and none keeps nearly all of every one.
_MANY = 16


def warn_of_inputs(inputs: Sequence[Adapter]) -> None:
    """Say where one adapter stands alone, and which are the same."""
    if len(inputs) == 1:
        _log.warning("one adapter alone: there is nothing to merge; `lorafold resize` is for a change of rank")
    for (i, one), (j, other) in combinations(enumerate(inputs), 2):
        if _same(one, other):
            _log.warning("%s and %s are the same adapter, which counts twice", _name(i, one), _name(j, other))


def warn_of_weights(weights: Any, plan: Plan) -> None:
    """Say that weights given as numbers are so large, as percentages are, that they are hardly meant.

    They are taken as they count: neither where the rule averages, nor where the scale is chosen, nor in a calibrated
    merge does their size.
    """
    if plan.rescale or plan.per_direction or plan.calibration or weights is None or isinstance(weights, str):
        return
    counted = (plan.scale * plan.core.coefficients(torch.tensor(plan.weights.default, dtype=torch.float64))).tolist()
    if max(map(abs, counted)) <= _STRONG and abs(sum(counted)) <= max(_STRONG, len(counted)):
        return
    given = plan.weights.default
    size = sum(map(abs, given))
    times = "" if plan.scale == 1 else f" times scale={plan.scale:g}"
    meant = _listed([weight / size for weight in given])
    _log.warning("weights=%s%s sum to %.4g: did you mean weights=%s?", _listed(given), times, sum(counted), meant)


def kept(parts: Sequence[tuple[Sequence[MergedBucket], Weights]]) -> list[float]:
    """Of each adapter ‖UᵀΔW_iV‖² / ‖ΔW_i‖², the mean over the modules that it changes by a weight other than 0."""
    of_buckets = [(bucket, weights) for buckets, weights in parts for bucket in buckets]
    shares = torch.cat([bucket.measures.retained.cpu() for bucket, _ in of_buckets])
    counted = torch.tensor([weights.of(layer.name) for bucket, weights in of_buckets for layer in bucket.layers]) != 0
    return torch.where(counted, shares, torch.nan).nanmean(0).tolist()


def warn_of_vanishing(
    shares: Sequence[float], inputs: Sequence[Adapter], rank: int, most: int, kept_at: Callable[[int], Sequence[float]]
) -> None:
    """Say which adapters keep less than a quarter of their energy, and a rank at which each keeps 95 %.

    Args:
        shares: kept of each; NaN of one that changes nothing.
        rank: of the merge.
        most: the largest rank to try.
        kept_at: what a merge of another rank keeps. It is asked only if there is something to say, of the double, four
            times the rank and so on, then half-way back, so that what is promised has been seen; of more than sixteen
            adapters never.
    """
    lost = [i for i, share in enumerate(shares) if share < _VANISHING]
    if not lost:
        return
    words = [f"{_name(i, inputs[i])} keeps {100 * shares[i]:.2g} %" for i in lost[:_NAMED]]
    more = f" and {len(lost) - _NAMED} more less than a quarter" if len(lost) > _NAMED else ""
    remedy = _remedy(rank, most, kept_at) if len(inputs) <= _MANY else ""
    _log.warning("%s%s of its energy at rank %d, the mean over its modules%s", ", ".join(words), more, rank, remedy)


def _remedy(rank: int, most: int, kept_at: Callable[[int], Sequence[float]]) -> str:
    def least(rank: int) -> float:
        return min(share for share in kept_at(rank) if not math.isnan(share)) + _ROUNDING

    low, high = rank, min(2 * rank, most)
    while low < high and (share := least(high)) < _KEPT:
        low, high = high, min(2 * high, most)
    if low == high:
        return ""
    middle = (low + high) // 2
    if middle > low and (closer := least(middle)) >= _KEPT:
        high, share = middle, closer
    return f": rank={high} keeps at least {int(100 * min(1.0, share))} % of each"


def _same(one: Adapter, other: Adapter) -> bool:
    """Whether modules and additive tensors agree to the bit."""
    keys = (one.modules.keys(), one.deltas.keys()) == (other.modules.keys(), other.deltas.keys())
    return (
        keys
        and all(identical(module, other.modules[name]) for name, module in one.modules.items())
        and all(torch.equal(delta, other.deltas[key]) for key, delta in one.deltas.items())
    )


def _name(index: int, adapter: Adapter) -> str:
    return f"#{index + 1}" if adapter.path is None else f"#{index + 1} ({adapter.path.name})"


def _listed(values: Sequence[float]) -> str:
    return f"[{','.join(f'{value:.4g}' for value in values)}]"
