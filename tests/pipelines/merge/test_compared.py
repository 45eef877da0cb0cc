"""The adapters beside their merge, from core space: what a comparison of the files' factors says, to six digits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.pipelines.compare.pipeline import compared_already
from lorafold.pipelines.merge.pipeline import merge_and_compare
from lorafold.pipelines.merge.settings import MergeSettings
from tests.builders import changed, random_adapter
from tests.builders import one_thread as one_thread

SHAPES = {f"layer.{i}.q": (24 + 3 * (i % 2), 20) for i in range(5)}
NAMES = [*SHAPES]


def adapter(seed, ranks, only=(), scale=1.0):
    whole = random_adapter("kohya", SHAPES, ranks, seed=seed, scale=scale, dtype=torch.float64)
    return changed(whole, only=only) if only else whole


def opposed(one, name):
    """The adapter with the opposite of the other one's update in a layer."""
    own = one.modules[name]
    return replace(one, modules={**one.modules, name: replace(own, scale=-own.scale)})


def flat(value, path=""):
    """Every number of a nest of them, by where it is."""
    if isinstance(value, dict):
        return {key: item for name, part in value.items() for key, item in flat(part, f"{path}/{name}").items()}
    if isinstance(value, list | tuple):
        return {key: item for at, part in enumerate(value) for key, item in flat(part, f"{path}/{at}").items()}
    return {path: value}


def measured(metrics):
    """What is measured, NaN where there is nothing; and words, but none that rest on the sign of rounding."""
    no_result = ("seconds", "peak", "reading", "verdict", "shared_initialisation", "random_z")
    known = [(path, value) for path, value in flat(metrics).items() if not any(word in path for word in no_result)]
    words = {path: value for path, value in known if isinstance(value, str)}
    return {path: math.nan if value is None else value for path, value in known if path not in words}, words


MIXED = {name: 1 + 2 * (i % 3) for i, name in enumerate(NAMES)}
CASES = {
    "two": (lambda: [adapter(1, 3), adapter(2, 5, scale=2.0)], {}),
    "balanced": (lambda: [adapter(1, 3), adapter(2, 5, scale=9.0)], {"balance": 0.7, "scale": "retained"}),
    "three, the joint rank": (lambda: [adapter(i, 2 + i) for i in range(3)], {"rank": "max"}),
    "layers of one only": (lambda: [adapter(1, MIXED, NAMES[2:]), adapter(2, 4, NAMES[:4])], {}),
    "nothing left": (lambda: [adapter(1, 3), opposed(adapter(1, 3), NAMES[1])], {"weights": [0.5, 0.5]}),
    "a rule for whole layers": (lambda: [adapter(1, 3), adapter(2, 5)], {"core": "ties"}),
    "a core rank": (lambda: [adapter(1, 3), adapter(2, 5)], {"core_rank": 6, "scale": -1.5}),
}


@pytest.mark.parametrize(("inputs", "changes"), CASES.values(), ids=CASES)
def test_the_numbers_are_those_of_the_factors(inputs, changes):
    adapters = inputs()
    settings = MergeSettings(**{"rank": 4, "dtype": "float32", "device": "cpu", "scale": 1.0, **changes})
    result = merge_and_compare(adapters, settings)
    together = [*result.inputs, result.adapter]
    found = measured(compared_already(together, result.compared).metrics())
    expected = measured(replace(lorafold.compare(together, device="cpu"), draws={}).metrics())
    assert found[0] == pytest.approx(expected[0], abs=2e-6, rel=1e-6, nan_ok=True)
    assert found[1] == expected[1]


def test_the_adapter_is_what_it_is_without():
    adapters = [adapter(1, 3), adapter(2, 5)]
    settings = MergeSettings(rank=4, device="cpu")
    one, other = merge_and_compare(adapters, settings).adapter, lorafold.merge(adapters, settings).adapter
    for name, module in other.modules.items():
        assert torch.equal(one.modules[name].up, module.up) and torch.equal(one.modules[name].down, module.down)


@pytest.mark.parametrize(
    ("count", "changes"), [(2, {"truncate": 2}), (9, {})], ids=["of what is cut off", "too many pairs"]
)
def test_where_it_is_left_to_the_factors(count, changes):
    adapters = [adapter(seed, 3, NAMES[:2]) for seed in range(count)]
    assert merge_and_compare(adapters, MergeSettings(rank=2, device="cpu", **changes)).compared == []


def test_a_merge_alone_compares_nothing():
    assert lorafold.merge([adapter(1, 3), adapter(2, 5)], rank=4).compared == []
