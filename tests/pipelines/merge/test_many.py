"""Dozens of adapters at once: layers that are narrower than all of them together, and large core spaces."""

from __future__ import annotations

import pytest
import torch

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.core_space import Layer, lift, reduce_layers
from lorafold.layers import buckets
from lorafold.layers.buckets import split_buckets
from lorafold.pipelines.merge import measures, pipeline
from lorafold.solvers import _leading
from tests import oracles
from tests.builders import Source, changed, random_adapter, random_layer
from tests.builders import one_thread as one_thread
from tests.demo_pair import TIGHT, change, gauged

COUNT, RANK = 16, 4
SHAPES = {"narrow": (40, 56), "tall": (300, 44), "wide": (44, 300)}


@pytest.fixture(autouse=True)
def no_search_for_a_rank_that_keeps_more(monkeypatch):
    monkeypatch.setattr(pipeline, "warn_of_vanishing", lambda *of_all: None)


def many(count: int = COUNT, shapes=SHAPES, rank: int = 8) -> list[Adapter]:
    """Adapters that share a part of their spaces, as trained ones do, the last without the first module."""
    common = random_adapter("kohya", shapes, rank, seed=99)

    def related(module: Module, seed: int) -> Module:
        source, like = Source(seed), common.modules[module.name]
        up = like.up @ torch.diag(1.5 * source.normal(rank).abs()) + module.up
        return Module(module.name, up, module.down, 1.0)

    found = [
        changed(random_adapter("kohya", shapes, rank, seed=i), lambda module, i=i: related(module, 1000 + i))
        for i in range(count)
    ]
    if len(shapes) > 1:
        found[-1] = changed(found[-1], only=[*shapes][1:])
    return found


def objectives(result) -> dict[str, float]:
    return {module["name"]: module["objective"] for module in result.metrics()["modules"]}


def merged(adapters, **options):
    return lorafold.merge(adapters, **{"rank": RANK, "solver": TIGHT, "dtype": "float32", **options})


def test_a_narrow_side_as_its_own_core_space_gives_the_same_merge(monkeypatch):
    adapters = many()
    found = merged(adapters)
    monkeypatch.setattr(buckets, "_WIDE", 10**9)
    in_joint_spans = merged(adapters)
    assert objectives(found) == pytest.approx(objectives(in_joint_spans), rel=1e-9)
    assert change(found, in_joint_spans) < 1e-4
    one, other = (result.metrics()["modules"] for result in (found, in_joint_spans))
    for a, b in zip(one, other, strict=True):
        present = [share for share in b["retained"] if share is not None]
        assert [share for share in a["retained"] if share is not None] == pytest.approx(present, rel=1e-6)
        assert a["gap"] == pytest.approx(b["gap"], abs=1e-8)
        assert a["phi_inputs"] == pytest.approx(b["phi_inputs"], rel=1e-9)


@pytest.mark.parametrize("core", ["ties", "kohya_add", "karcher", "tsv"])
def test_rules_see_the_same_coordinates(monkeypatch, core):
    adapters = many(shapes={"narrow": (40, 56)})
    found = merged(adapters, core=core)
    monkeypatch.setattr(buckets, "_WIDE", 10**9)
    assert change(found, merged(adapters, core=core)) < 1e-4


def test_without_subspace_term_it_is_the_truncated_svd_of_the_sum():
    adapters = many()
    found = merged(adapters, subspace_weight=0, weights=[1 / COUNT] * COUNT, scale=1)
    for name in SHAPES:
        dense = sum(oracles.update(a.modules[name]).double() for a in adapters if name in a.modules) / COUNT
        U, S, Vt = torch.linalg.svd(dense, full_matrices=False)
        best = (U[:, :RANK] * S[:RANK]) @ Vt[:RANK]
        assert oracles.relative(oracles.update(found.adapter.modules[name]).double(), best) < 1e-5


def test_neither_order_nor_factors_matter_nor_does_a_duplicate(monkeypatch):
    monkeypatch.setattr(_leading, "_LARGE", 40)
    adapters = many(shapes={"large": (150, 60)})
    options = {"weights": [1 + i / 10 for i in range(COUNT)]}
    found = objectives(merged(adapters, **options))["large"]
    backwards = objectives(merged(adapters[::-1], weights=options["weights"][::-1]))["large"]
    turned = [gauged(adapter, i) for i, adapter in enumerate(adapters)]
    assert backwards == pytest.approx(found, rel=1e-9)
    assert objectives(merged(turned, **options))["large"] == pytest.approx(found, rel=1e-9)
    halves = [*options["weights"][:-1], *[options["weights"][-1] / 2] * 2]
    twice = objectives(merged([*adapters, adapters[-1]], weights=halves))["large"]
    assert twice == pytest.approx(found, rel=1e-9)


def test_lifted_from_the_whole_space_updates_are_what_they_were():
    layers = [random_layer(Source(seed), 24, 30, [5] * 9) for seed in range(2)]
    batch = reduce_layers(layers, [5] * 9, torch.ones(2, 9, dtype=torch.float64), full=("left", "right"))
    for number in range(9):
        problem = batch.problem
        core = problem.core[:, number]
        ups, downs = lift(batch, problem.left[:, number] @ core, problem.right[:, number], torch.float64)
        for layer, up, down in zip(layers, ups.factors, downs.factors, strict=True):
            expected = layer.ups[number] @ layer.downs[number]
            assert oracles.relative(up @ down, expected) < 1e-12


def test_a_batch_is_of_a_bounded_size():
    source = Source(0)
    layers: list[Layer] = [random_layer(source, 600, 500, [16] * count) for count in (2, 2, 2, 2, 40, 40, 40)]
    found = split_buckets(layers, 48, 8)
    assert sorted(len(bucket.positions) for bucket in found) == [1, 2, 4]
    assert all(len(own.positions) * buckets._size(own, layers) <= buckets._NUMBERS for own in found)
    wide = next(bucket for bucket in found if bucket.full)
    assert wide.full == {"left", "right"}
    assert buckets._size(wide, layers) == 600 * 500


@pytest.mark.parametrize("columns", [1, 7, 1000])
def test_overlaps_of_inputs_are_means_over_their_pairs(monkeypatch, columns):
    monkeypatch.setattr(measures, "_COLUMNS", columns)
    frames = Source(0).haar(2, 5, 20, 3)
    dims = torch.tensor([[3, 3, 3, 3, 3], [3, 3, 0, 3, 3]])
    frames[1, 2] = 0
    found = measures._phi_inputs(frames, dims)
    for row, present in enumerate(([0, 1, 2, 3, 4], [0, 1, 3, 4])):
        pairs = [(i, j) for i in present for j in present if i < j]
        phis = [float((frames[row, i].mT @ frames[row, j]).square().sum() / 3) for i, j in pairs]
        assert float(found[row]) == pytest.approx(sum(phis) / len(phis), rel=1e-12)
    assert bool(measures._phi_inputs(frames[:, :1], dims[:, :1]).isnan().all())
