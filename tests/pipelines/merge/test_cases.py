"""Ordinary inputs that are degenerate for the mathematics: each has one sane result."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import lorafold
from lorafold.adapters import Adapter
from tests import oracles
from tests.builders import Source, changed, random_adapter, single
from tests.builders import one_thread as one_thread
from tests.oracles import updates

OBJECTIVES = ["chordal", "phi", "geodesic"]
SHAPES = {"a": (20, 15), "b": (9, 30)}
S = Source(0)
UP, DOWN = S.normal(20, 4), S.normal(4, 15)


def pair() -> list[Adapter]:
    return [random_adapter("kohya", SHAPES, rank, seed=rank, scale=0.5) for rank in (4, 3)]


def merged(adapters: list[Adapter], **options) -> dict[str, Tensor]:
    """The updates of the merge, after the checks that every merge must pass."""
    result = lorafold.merge(adapters, **options)
    for module in result.adapter.modules.values():
        assert bool(module.up.isfinite().all()) and bool(module.down.isfinite().all())
        assert module.rank >= 1 and module.scale == 1.0
    assert result.metrics()["summary"]["converged"] == len(result.adapter.modules)
    return updates(result.adapter)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-9):
    assert list(found) == list(expected)
    for name, delta in expected.items():
        assert oracles.relative(found[name], delta) < tolerance


@pytest.mark.parametrize("objective", OBJECTIVES)
class TestUpdates:
    def test_a_zero_update_leaves_the_other(self, objective):
        first, second = pair()
        silent = changed(first, lambda module: replace(module, up=0 * module.up))
        found = merged([silent, second], weights=[0.7, 0.3], rank=3, objective=objective)
        assert_equal(found, {name: 0.3 * delta for name, delta in updates(second).items()})

    def test_only_zero_updates_give_zero(self, objective):
        silent = [changed(adapter, lambda module: replace(module, up=0 * module.up)) for adapter in pair()]
        for rank in (2, "max"):
            found = merged(silent, rank=rank, objective=objective)
            assert all(not bool(delta.any()) for delta in found.values())

    @pytest.mark.parametrize("weights", [[0.5, 0.5], [0.9, 0.1]])
    def test_identical_adapters_are_merged_into_the_same(self, objective, weights):
        first, _ = pair()
        for rank in (4, "max", 6):
            assert_equal(merged([first, first], weights=weights, rank=rank, objective=objective), updates(first))

    def test_adapters_that_differ_in_their_gauge_alone_too(self, objective):
        first, _ = pair()
        gauge = Source(1).conditioned(4, 4, 10.0)
        turned = changed(first, lambda m: replace(m, up=m.up @ gauge, down=torch.linalg.inv(gauge) @ m.down))
        assert_equal(merged([first, turned], rank=4, objective=objective), updates(first))

    @pytest.mark.parametrize("rank", [3, 4, 9, "max"])
    def test_opposite_weights_cancel(self, objective, rank):
        first, _ = pair()
        found = merged([first, first], weights=[0.7, -0.7], rank=rank, objective=objective)
        assert all(not bool(delta.any()) for delta in found.values())

    def test_no_rank_is_beyond_the_joint_one(self, objective):
        adapters = pair()
        result = lorafold.merge(adapters, weights=[1, -2], rank=12, objective=objective)
        for name, module in result.adapter.modules.items():
            expected = oracles.target([updates(adapter)[name] for adapter in adapters], [1, -2])
            assert module.rank == 7
            assert oracles.relative(oracles.update(module), expected) < 1e-9
            assert bool((module.up.norm(dim=0) > 0).all())

    def test_rank_max_keeps_what_there_is(self, objective):
        """7 dimensions of two different adapters, 4 of an adapter and its double, 1 (of zeros) of nothing."""
        first, second = pair()
        double = changed(first, lambda module: replace(module, scale=2 * module.scale))
        for adapters, weights, rank in (
            ([first, second], [1, 1], 7),
            ([first, double], [1, 1], 4),
            ([first, double], [2, -1], 1),
        ):
            result = lorafold.merge(adapters, weights=weights, rank="max", objective=objective)
            assert {module.rank for module in result.adapter.modules.values()} == {rank}
            assert {module["rank"] for module in result.metrics()["modules"]} == {rank}

    def test_layers_smaller_than_the_joint_rank(self, objective):
        shapes = {"thin": (3, 30), "flat": (30, 2), "dot": (1, 1)}
        adapters = [random_adapter("kohya", shapes, rank, seed=rank) for rank in (7, 5)]
        for rank in (8, 12, "max"):
            found = merged(adapters, weights=[1, 0.5], rank=rank, objective=objective)
            expected = {name: oracles.target([updates(a)[name] for a in adapters], [1, 0.5]) for name in shapes}
            assert_equal(found, expected)

    def test_disjoint_modules(self, objective):
        first, second = (random_adapter("kohya", {name: (20, 15)}, 4) for name in ("a", "b"))
        found = merged([first, second], weights=[0.7, 0.3], rank=4, objective=objective)
        assert_equal(found, {"a": 0.7 * updates(first)["a"], "b": 0.3 * updates(second)["b"]})

    def test_modules_that_only_some_adapters_have(self, objective):
        """In the order in which they appear, each at its weight, at whatever rank its adapters have."""
        first = random_adapter("kohya", {"a": (20, 15), "b": (9, 30)}, {"a": 4, "b": 2}, seed=1)
        second = random_adapter("kohya", {"c": (8, 8), "b": (9, 30)}, {"c": 1, "b": 3}, seed=2)
        third = random_adapter("kohya", {"c": (8, 8)}, 5, seed=3)
        weights = [0.5, 0.3, -0.2]
        one, two, three = map(updates, (first, second, third))
        found = merged([first, second, third], weights=weights, rank="max", objective=objective)
        assert list(found) == ["a", "b", "c"]
        expected = {
            "a": 0.5 * one["a"],
            "b": 0.5 * one["b"] + 0.3 * two["b"],
            "c": 0.3 * two["c"] - 0.2 * three["c"],
        }
        assert_equal(found, expected)

    def test_one_adapter_alone_is_truncated_to_its_best_approximation(self, objective):
        first, _ = pair()
        expected = {name: oracles.truncations(delta, [2])[0] for name, delta in updates(first).items()}
        assert_equal(merged([first], rank=2, objective=objective), expected, 1e-4)

    def test_norms_that_differ_by_20_orders_of_magnitude(self, objective):
        first, second = pair()
        tiny = changed(second, lambda module: replace(module, scale=1e-20))
        assert_equal(merged([first, tiny], weights=[1, 1], rank="max", objective=objective), updates(first))
        alone = merged([first], rank=3, objective=objective)
        assert_equal(merged([first, tiny], rank=3, objective=objective), alone)  # the tiny one has no say on subspaces

    def test_adapters_on_disjoint_rows(self, objective):
        """As of the parts of a fused projection: their left spaces are exactly orthogonal."""
        top, bottom = torch.zeros(20, 4).double(), torch.zeros(20, 4).double()
        top[:10], bottom[10:] = S.normal(10, 4), S.normal(10, 4)
        adapters = [single(top, DOWN), single(bottom, S.normal(4, 15))]
        expected = oracles.target([updates(adapter)["a"] for adapter in adapters], [0.5, 0.5])
        assert_equal(merged(adapters, weights="mean", rank=8, objective=objective), {"a": expected})
        found = lorafold.merge(adapters, rank=4, objective=objective, reconstruction_weight=0).metrics()
        assert found["summary"]["objective"] < 0.5


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_a_module_is_no_measure_of_cancellation(scale):
    """ΔW_3 = scale (ΔW_1 + ΔW_2) for any scale, also through the modules' own."""
    first, second = pair()
    expected = {name: scale * delta for name, delta in merged([first, second], scale=1.0, rank="max").items()}
    assert_equal(merged([first, second], rank="max", scale=scale), expected)
    small = [changed(adapter, lambda m: replace(m, scale=scale * m.scale)) for adapter in (first, second)]
    assert_equal(merged(small, scale=1.0, rank="max"), expected)


def test_modules_are_named_as_in_the_first_adapter_that_has_them():
    first, second = pair()
    other = replace(second, modules={"b": second.modules["b"], "a": second.modules["a"]})
    assert list(lorafold.merge([first, other], rank=2).adapter.modules) == ["a", "b"]
    assert list(lorafold.merge([other, first], rank=2).adapter.modules) == ["b", "a"]


def test_inputs_are_left_as_they_were():
    adapters = pair()
    before = [{name: (m.up.clone(), m.down.clone()) for name, m in adapter.modules.items()} for adapter in adapters]
    lorafold.merge(adapters, rank=3)
    for adapter, copies in zip(adapters, before, strict=True):
        for name, module in adapter.modules.items():
            assert torch.equal(module.up, copies[name][0]) and torch.equal(module.down, copies[name][1])


def test_mixed_ranks_within_an_adapter():
    shapes = {f"m{i}": (12, 10) for i in range(6)}
    first = random_adapter("kohya", shapes, {name: 1 + i % 3 for i, name in enumerate(shapes)}, seed=1)
    second = random_adapter("kohya", shapes, {name: 4 - i % 2 for i, name in enumerate(shapes)}, seed=2)
    found = merged([first, second], weights=[1, 1], rank=7)
    assert_equal(found, {name: updates(first)[name] + updates(second)[name] for name in shapes})


@pytest.mark.parametrize("scale", [1.0, -1.0, -1e-3])
def test_what_is_left_of_a_part_that_cancels_is_no_direction(scale):
    """(ΔW_1 + ΔW_2) - ΔW_1 has the rank of ΔW_2, whatever the sign of what it is multiplied by."""
    first, second = pair()
    both = changed(first, lambda m: stacked(m, second.modules[m.name]))
    result = lorafold.merge([both, first], weights=[1, -1], rank="max", scale=scale)
    for name, module in result.adapter.modules.items():
        assert module.rank == second.modules[name].rank
    assert_equal(updates(result.adapter), {name: scale * delta for name, delta in updates(second).items()})


@pytest.mark.parametrize("scale", [1.0, -1.0, -1e3])
def test_updates_that_cancel_leave_nothing(scale):
    first, _ = pair()
    result = lorafold.merge([first, first], weights=[0.7, -0.7], rank="max", scale=scale)
    assert {module.rank for module in result.adapter.modules.values()} == {1}
    assert not any(bool(delta.any()) for delta in updates(result.adapter).values())


def stacked(one, other):
    """A module whose update is the sum of two."""
    up = torch.cat([one.scale * one.up, other.scale * other.up], 1)
    return replace(one, up=up, down=torch.cat([one.down, other.down]), scale=1.0)
