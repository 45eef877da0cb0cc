"""How strong a merge is where adapters hardly meet, are hardly there, or are one and the same."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import lorafold
from lorafold.pipelines.merge.balance import balancing_factors
from tests.builders import changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import updates

SHAPES = {f"m{i}": (24 + i, 20) for i in range(4)}
# How people merge without choosing a strength.
WAYS = pytest.mark.parametrize("way", [{}, vars(lorafold.recipe("balanced"))], ids=["default", "balanced"])


def adapter(seed: int, rank: int = 4, scale: float = 1.0, only: list[str] | None = None) -> lorafold.Adapter:
    whole = random_adapter("kohya", SHAPES, rank, seed=seed, scale=scale, dtype=torch.float64)
    return changed(whole, only=only) if only else whole


def times(one: lorafold.Adapter, factor: float) -> lorafold.Adapter:
    return changed(one, lambda module: replace(module, scale=factor * module.scale))


def merged(adapters: list[lorafold.Adapter], way: dict[str, Any], rank: int | str = 4) -> dict[str, Tensor]:
    return updates(lorafold.merge(adapters, **{**way, "rank": rank}).adapter)


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return math.sqrt(
        sum(float((one[name] - other[name]).square().sum()) for name in other)
        / sum(float(delta.square().sum()) for delta in other.values())
    )


def test_an_adapter_that_vanishes_has_no_effect_in_the_limit():
    pair, third = [adapter(1), adapter(2, 3, 2.0)], adapter(3)
    without = merged(pair, {})
    effects = [difference(merged([*pair, times(third, t)], {}), without) for t in (1e-4, 1e-5, 1e-6)]
    assert effects[0] < 1e-2 and effects[1] < 1e-3 and effects[2] < 1e-4


@WAYS
def test_one_that_changes_nothing_has_none(way):
    pair = [adapter(1), adapter(2, 3, 2.0)]
    assert difference(merged([*pair, times(adapter(3), 0.0)], way), merged(pair, way)) < 1e-7


@pytest.mark.parametrize("t", [0.1, 1e-2, 1e-4, 1e-9])
def test_nothing_is_blown_up(t):
    gains = balancing_factors([adapter(1), times(adapter(2), t)], [1, 1], 0.7)
    assert max(gains) <= 10


@WAYS
def test_adapters_without_a_common_module_are_added(way):
    first, second = adapter(1, only=["m0", "m1"]), adapter(2, scale=5.0, only=["m2", "m3"])
    assert difference(merged([first, second], way), {**updates(first), **updates(second)}) < 1e-9


@WAYS
@pytest.mark.parametrize("count", [2, 3])
def test_duplicates_are_as_strong_as_one(way, count):
    """But for WUDI's ridge towards the sum, which is twice or three times as strong."""
    one = adapter(1)
    assert difference(merged([one] * count, way), updates(one)) < (1e-2 if way else 1e-9)


@WAYS
def test_duplicates_that_are_cut_keep_the_strength_of_what_is_left(way):
    """Of a flat spectrum of 16 directions 4 are left, with half the norm."""
    flat = changed(
        adapter(1, 16),
        lambda module: replace(module, up=torch.linalg.qr(module.up)[0], down=torch.linalg.qr(module.down.mT)[0].mT),
    )
    whole, left = updates(flat), merged([flat, flat], way)
    for name, delta in whole.items():
        assert torch.linalg.matrix_norm(left[name], 2) == pytest.approx(torch.linalg.matrix_norm(delta, 2))


@WAYS
def test_the_order_does_not_matter(way):
    trio = [adapter(1), adapter(2, 3, 2.0), adapter(3, 2, only=["m1", "m3"])]
    assert difference(merged(trio[::-1], way, "max"), merged(trio, way, "max")) < 1e-7


@WAYS
def test_one_that_meets_another_in_one_module_gives_way_by_less(way):
    """Both are whole where they are alone, and 1/√2 of it where all modules are shared."""
    first, second = adapter(1), adapter(2)
    strengths = [
        float(
            (merged([first, other], way, "max")["m0"] * updates(first)["m0"]).sum()
            / updates(first)["m0"].square().sum()
        )
        for other in (changed(second, only=["m3"]), second)
    ]
    assert strengths[1] < strengths[0] < 1
