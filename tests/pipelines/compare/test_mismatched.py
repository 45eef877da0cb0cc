"""Mismatched layers: what corresponding layers share is found, what all layers share is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import lorafold
from lorafold.core_space import Layer
from lorafold.pipelines.compare import mismatched
from lorafold.pipelines.compare.mismatched import mismatched_draws
from tests.builders import Source, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import update

SIDES = ("left", "right")
SHAPES = {f"layer.{i}.{name}": shape for i in range(24) for name, shape in (("q", (20, 16)), ("up", (30, 16)))}
KEYS = ("null_phi", "null_median", "null_spread", "effect", "p", "p_adjusted")


def adapters(*ranks, shapes=SHAPES):
    return [random_adapter("kohya", shapes, rank, seed=seed) for seed, rank in enumerate(ranks)]


def column(metrics, key):
    modules = metrics["modules"]
    return np.array([[module["pairs"][0][side][key] for module in modules] for side in SIDES], dtype=float)


def draws_of(pair, alpha=0.05):
    first, second = pair
    layers = [
        Layer(name, (one.up, two.up), (one.down, two.down), (one.scale, two.scale))
        for (name, one), two in zip(first.modules.items(), second.modules.values(), strict=True)
    ]
    dims = np.array([layer.ranks for layer in layers]).T
    return mismatched_draws(layers, dims, alpha, torch.device("cpu"))[0, 1]


def space(module, side):
    delta = update(module) if side == "left" else update(module).T
    return torch.linalg.svd(delta, full_matrices=False)[0][:, : module.rank]


def test_draws_are_the_layers_of_one_shape_each_once():
    pair = adapters(2, 3)
    draws = draws_of(pair)
    names, shapes = list(SHAPES), list(SHAPES.values())
    assert draws.phi.shape == (24, 2, 48) and draws.dims.tolist() == [[2] * 48, [3] * 48]
    for row, side in enumerate(SIDES):
        frames = [[space(module, side) for module in adapter.modules.values()] for adapter in pair]
        for i in (0, 1, 30, 47):
            mates = [j for j in range(len(names)) if shapes[j] == shapes[i] and j != i]
            phi = [float((frames[0][i].T @ frames[1][j]).square().sum()) / 2 for j in (i, *mates)]
            assert draws.phi[0, row, i] == pytest.approx(phi[0], abs=1e-6)
            np.testing.assert_allclose(np.sort(draws.phi[1:, row, i]), np.sort(phi[1:]), atol=1e-6)


def test_large_classes_are_one_family_and_small_ones_have_what_there_is():
    shapes = {**SHAPES, **{f"few.{i}": (9, 9) for i in range(3)}, "alone": (7, 9)}
    shapes |= {f"many.{i}": (12, 12) for i in range(2 * mismatched._ENOUGH + 5)}
    there = np.isfinite(draws_of(adapters(2, 3, shapes=shapes)).phi).sum(0)
    counts = {name: column.tolist() for name, column in zip(shapes, there.T, strict=True)}
    assert counts["layer.0.q"] == counts["layer.3.up"] == counts["many.0"] == counts["many.68"] == [24, 24]
    assert (counts["few.1"], counts["alone"]) == ([3, 3], [1, 1])  # with their own


def test_what_corresponding_layers_share_is_found_and_what_all_layers_share_is_not():
    first, second = adapters(3, 4)
    source = Source(9)
    common = {shape: (source.normal(shape[0], 2), source.normal(2, shape[1])) for shape in set(SHAPES.values())}

    def with_common(module):
        up, down = common[module.shape]
        up, down = (torch.cat([up * 20, module.up], 1), torch.cat([down, module.down]))
        return replace(module, up=up, down=down)

    def with_that_of_first(module):
        own = first.modules[module.name]
        return replace(module, up=torch.cat([own.up, module.up], 1), down=torch.cat([own.down, module.down]))

    everywhere = lorafold.compare([changed(adapter, with_common) for adapter in (first, second)]).metrics()
    layerwise = lorafold.compare([first, changed(second, with_that_of_first)]).metrics()
    for metrics, expected in ((everywhere, 0), (layerwise, 48)):
        (pair,) = metrics["summary"]["pairs"]
        assert pair["null"]["kind"] == "mismatched layers" and "beyond chance" not in pair["verdict"]
        for side in SIDES:
            assert (pair[side]["decided"], pair[side]["beyond_null"]) == (48, expected)
            assert pair[side]["beyond_random"] > 10


def alike(seed):
    """Eight layers of two adapters, in which all layers of both have one direction in common."""
    common = 4 * Source(seed).normal(16, 1)
    shapes = {f"layer.{i}": (16, 12) for i in range(8)}
    pair = (random_adapter("kohya", shapes, 3, seed=2 * seed + i) for i in range(2))
    return [
        changed(adapter, lambda module: replace(module, up=torch.cat([common, module.up[:, 1:]], 1)))
        for adapter in pair
    ]


def test_p_values_are_uniform_where_layers_are_alike():
    """One layer of each of many pairs: its rank among the 1 + 7 that the first adapter's layer meets."""
    phi = np.array([draws_of(alike(seed)).phi[:, 0, 0] for seed in range(120)])
    counts = np.bincount((phi >= phi[:, :1]).sum(1), minlength=9)[1:]
    assert stats.chisquare(counts).pvalue > 0.003


def test_the_gauge_does_not_matter():
    source, pair = Source(5), adapters(3, 5)
    turn = {shape: (source.haar(shape[0], shape[0]), source.haar(shape[1], shape[1])) for shape in set(SHAPES.values())}

    def turned(module):
        left, right = turn[module.shape]
        G = source.conditioned(module.rank, module.rank, 20.0)
        return replace(module, up=left @ module.up @ G, down=torch.linalg.solve(G, module.down) @ right.T)

    before = lorafold.compare(pair).metrics()
    after = lorafold.compare([changed(adapter, turned) for adapter in pair]).metrics()
    for key in KEYS:
        np.testing.assert_allclose(column(after, key), column(before, key), rtol=1e-4, atol=1e-5)


def test_without_two_layers_of_one_shape_there_is_no_null():
    first, second = adapters(2, 3, shapes={"a": (9, 8), "b": (7, 8)})
    metrics = lorafold.compare([first, second]).metrics()
    (pair,) = metrics["summary"]["pairs"]
    assert pair["null"]["kind"] is None and pair["left"]["null_phi"] is None
    assert metrics["modules"][0]["pairs"][0]["left"]["p"] is None
