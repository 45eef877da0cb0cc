"""A comparison against dense matrices, against its symmetries, and in the cases that files bring along."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.core_space import _reduce
from lorafold.geometry import DISTANCES, distance
from lorafold.pipelines.compare.pipeline import compare_roughly
from tests.builders import DEMO, Source, changed, random_adapter, single
from tests.builders import one_thread as one_thread
from tests.oracles import angles, numerical_rank, update

SHAPES = {"layer.0.q": (12, 9), "layer.0.fc1": (30, 14), "layer.1.q": (12, 9), "layer.1.fc1": (30, 14)}
SIDES = ("left", "right")


def adapters(*ranks, shapes=SHAPES):
    return [random_adapter("kohya", shapes, rank, seed=seed, scale=0.5 + seed) for seed, rank in enumerate(ranks)]


def frames(module, side):
    """The leading singular vectors of the dense update, as many as its numerical rank."""
    delta = update(module) if side == "left" else update(module).T
    return torch.linalg.svd(delta, full_matrices=False)[0][:, : numerical_rank(delta)]


def entries(metrics, pair=(0, 1)):
    """(module entry, its pair entry) of all modules that have one."""
    found = [(module, entry) for module in metrics["modules"] for entry in module["pairs"]]
    return [(module, entry) for module, entry in found if entry["pair"] == list(pair)]


def numbers(metrics, key):
    return [[entry[side][key] for side in SIDES] for _, entry in entries(metrics)]


def test_every_number_against_dense_matrices():
    first, second = adapters(3, 5)
    metrics = lorafold.compare([first, second], distances=list(DISTANCES)).metrics()
    assert [module["name"] for module, _ in entries(metrics)] == list(SHAPES)
    for module, entry in entries(metrics):
        one, two = first.modules[module["name"]], second.modules[module["name"]]
        A, B = update(one), update(two)
        assert entry["cosine"] == pytest.approx(float((A * B).sum() / A.norm() / B.norm()), abs=1e-13)
        assert entry["norm_ratio"] == pytest.approx(float(B.norm() / A.norm()), rel=1e-13)
        assert module["norms"] == pytest.approx([float(A.norm()), float(B.norm())], rel=1e-13)
        assert module["numerical_ranks"] == [3, 5]
        for side, size in zip(SIDES, module["shape"], strict=True):
            X, Y = frames(one, side), frames(two, side)
            found = entry[side]
            assert (found["k"], found["l"], found["random"]) == (3, 5, 5 / size)
            assert found["phi"] == pytest.approx(float((X.T @ Y).square().sum()) / 3, abs=1e-13)
            np.testing.assert_allclose(found["angles"], angles(X, Y), atol=1e-6)
            for name, value in found["distances"].items():
                assert value == pytest.approx(float(distance(name, X, Y)), abs=1e-10)


def test_the_grid_equals_the_double_loop():
    first, second = adapters(3, 5)
    result = lorafold.compare([first, second])
    for module, entry in entries(result.metrics()):
        name = module["name"]
        for side in SIDES:
            X, Y = frames(first.modules[name], side), frames(second.modules[name], side)
            loop = [
                [float((X[:, :i].T @ Y[:, :j]).square().sum()) / min(i, j) for j in range(1, 6)] for i in range(1, 4)
            ]
            np.testing.assert_allclose(result.grids[0, 1][name][side], loop, rtol=0, atol=1e-12)
            assert entry[side]["phi_grid_mean"] == pytest.approx(np.mean(loop), abs=1e-12)


def test_only_what_the_layer_adds_counts_not_its_factors():
    """Another gauge, and rotated inputs and outputs of every layer, change nothing."""
    source, pair = Source(7), adapters(3, 5)
    rotations = {name: (source.haar(m, m), source.haar(n, n)) for name, (m, n) in SHAPES.items()}

    def turned(module):
        left, right = rotations[module.name]
        G = source.conditioned(module.rank, module.rank, 20.0)
        return replace(module, up=left @ module.up @ G, down=torch.linalg.solve(G, module.down) @ right.T)

    before = lorafold.compare(pair).metrics()
    after = lorafold.compare([changed(adapter, turned) for adapter in pair]).metrics()
    for key in ("phi", "phi_grid_mean", "random_z", "random_p_adjusted", "angles"):
        for left, right in zip(numbers(before, key), numbers(after, key), strict=True):
            for one, two in zip(left, right, strict=True):
                np.testing.assert_allclose(two, one, rtol=1e-9, atol=2e-6 if key == "angles" else 1e-10)
    for key in ("cosine", "cosine_null_sd", "cosine_shared_sd", "norm_ratio"):
        assert after["summary"]["pairs"][0][key] == pytest.approx(before["summary"]["pairs"][0][key], rel=1e-8)


def test_the_order_of_the_adapters_does_not_matter():
    first, second = adapters(3, 5)
    result, swapped = lorafold.compare([first, second]), lorafold.compare([second, first])
    np.testing.assert_allclose(numbers(swapped.metrics(), "phi"), numbers(result.metrics(), "phi"), atol=1e-14)
    for name, sides in result.grids[0, 1].items():
        np.testing.assert_allclose(swapped.grids[0, 1][name]["left"].T, sides["left"], atol=1e-14)


def test_equal_subspaces_have_phi_one_and_contained_ones_too():
    first = random_adapter("kohya", SHAPES, 4)
    source = Source(3)
    other = changed(first, lambda module: replace(module, up=module.up @ source.normal(4, 4)))
    part = changed(first, lambda module: replace(module, up=module.up[:, :2], down=module.down[:2]))
    for second in (other, part):
        found = numbers(lorafold.compare([first, second]).metrics(), "phi")
        np.testing.assert_allclose(found, 1, atol=1e-12)
        assert np.max(found) <= 1


def test_with_itself():
    first = random_adapter("kohya", SHAPES, 4)
    (pair,) = lorafold.compare([first, first]).metrics()["summary"]["pairs"]
    assert [pair["cosine"], pair["norm_ratio"], *pair["in_sum"]] == pytest.approx([1, 1, 1, 1], abs=1e-12)
    assert pair["verdict"] == "strongly agreeing"
    assert not pair["shared_initialisation"]["detected"]


def test_opposite_updates_cancel():
    first = random_adapter("kohya", SHAPES, 4)
    second = changed(first, lambda module: replace(module, scale=-0.5))
    (pair,) = lorafold.compare([first, second]).metrics()["summary"]["pairs"]
    assert pair["cosine"] == pytest.approx(-1, abs=1e-12)
    assert pair["in_sum"] == pytest.approx([-0.5, -2], abs=1e-12)
    assert pair["verdict"] == "strongly opposing"


def test_three_adapters_make_symmetric_matrices():
    summary = lorafold.compare(adapters(3, 5, 2)).metrics()["summary"]
    assert [entry["pair"] for entry in summary["pairs"]] == [[0, 1], [0, 2], [1, 2]]
    for side in SIDES:
        phi, random = np.array(summary["phi_matrix"][side]), np.array(summary["random_matrix"][side])
        np.testing.assert_array_equal(phi, phi.T)
        np.testing.assert_array_equal(random, random.T)
        np.testing.assert_array_equal(np.diag(phi), 1)
        for entry in summary["pairs"]:
            assert phi[tuple(entry["pair"])] == entry[side]["phi"]
            assert random[tuple(entry["pair"])] == entry[side]["random"]
        sizes = [shape[side == "right"] for shape in SHAPES.values()]
        assert random[1, 1] == pytest.approx(np.mean([5 / size for size in sizes]))
    cosine = np.array(summary["cosine_matrix"])
    np.testing.assert_array_equal(cosine, cosine.T)
    assert cosine[0, 2] == summary["pairs"][1]["cosine"]


def test_groups_and_kinds_hold_every_module_once():
    metrics = lorafold.compare(adapters(3, 5)).metrics()
    summary, (pair,) = metrics["summary"], metrics["summary"]["pairs"]
    assert [entry["group"] for entry in summary["groups"]] == ["layer 0", "layer 1"]
    assert [entry["group"] for entry in summary["kinds"]] == ["attention q", "mlp up"]
    for parts in (summary["groups"], summary["kinds"]):
        weights = [entry["modules"] for entry in parts]
        assert sum(weights) == summary["modules"] == 4
        mean = np.average([entry["pairs"][0]["left"]["phi"] for entry in parts], weights=weights)
        assert mean == pytest.approx(pair["left"]["phi"])


def test_a_module_of_one_adapter_is_listed_but_not_compared():
    first, second = adapters(3, 5)
    alone = replace(second, modules={name: second.modules[name] for name in list(SHAPES)[1:]})
    metrics = lorafold.compare([first, alone]).metrics()
    missing = metrics["modules"][0]
    assert (missing["ranks"], missing["numerical_ranks"], missing["pairs"]) == ([3, 0], [3, 0], [])
    (pair,) = metrics["summary"]["pairs"]
    assert pair["modules"] == pair["left"]["tested"] == 3
    deltas = [torch.cat([update(m).flatten() for m in adapter.modules.values()]) for adapter in (first, alone)]
    inner = sum(float((update(first.modules[name]) * update(m)).sum()) for name, m in alone.modules.items())
    assert pair["cosine"] == pytest.approx(inner / float(deltas[0].norm() * deltas[1].norm()), rel=1e-12)


def test_adapters_without_a_common_module():
    first, second = adapters(3, 5)
    apart = [replace(first, modules={"a": first.modules["layer.0.q"]}), second]
    metrics = lorafold.compare(apart).metrics()
    (pair,) = metrics["summary"]["pairs"]
    assert (pair["modules"], pair["cosine"], pair["verdict"]) == (0, 0, "nothing in common")
    assert pair["left"]["phi"] is pair["right"]["random_p"] is None
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize("dead", ["up", "down", "scale"])
def test_a_zero_update_has_no_subspace(dead):
    first, second = adapters(3, 5)
    value = {"scale": 0.0} if dead == "scale" else {dead: torch.zeros_like(getattr(second.modules["layer.0.q"], dead))}
    modules = {**second.modules, "layer.0.q": replace(second.modules["layer.0.q"], **value)}
    result = lorafold.compare([first, replace(second, modules=modules)])
    metrics = result.metrics()
    ((_, entry), *others) = entries(metrics)
    assert entry["cosine"] is None
    assert entry["norm_ratio"] == 0
    for side in SIDES:
        assert (entry[side]["k"], entry[side]["l"], entry[side]["angles"]) == (3, 0, [])
        assert {
            entry[side][key]
            for key in ("phi", "phi_grid_mean", "random", "random_z", "random_p", "random_p_adjusted", "null_phi", "p")
        } == {None}
        assert set(entry[side]["distances"].values()) == {None}
    assert all(entry["left"]["phi"] is not None for _, entry in others)
    assert "layer.0.q" not in result.grids[0, 1]
    json.dumps(metrics, allow_nan=False)


def test_a_zero_adapter_in_three():
    zero = changed(random_adapter("kohya", SHAPES, 2), lambda module: replace(module, scale=0.0))
    metrics = lorafold.compare([*adapters(3, 5), zero]).metrics()
    summary = metrics["summary"]
    assert summary["phi_matrix"]["left"][2] == summary["cosine_matrix"][2] == [None, None, None]
    assert [entry["verdict"] for entry in summary["pairs"]][1:] == ["nothing in common"] * 2
    assert summary["pairs"][1]["norm_ratio"] == 0
    assert summary["pairs"][1]["in_sum"] == [None, None]
    json.dumps(metrics, allow_nan=False)


def test_ranks_below_those_of_the_file_are_found_and_do_not_leak():
    """One batch: full rank, repeated columns, a zero column in the middle, zeros that miss each other."""
    shapes = {name: (16, 10) for name in "abcd"}
    first, second = random_adapter("kohya", shapes, 4, seed=1), random_adapter("kohya", shapes, 3, seed=2)
    first.modules["b"].up[:, 2:] = first.modules["b"].up[:, :2]
    first.modules["c"].up[:, 1] = 0
    first.modules["d"].up[:, 1] = 0
    first.modules["d"].down[2] = 0
    metrics = lorafold.compare([first, second], distances=["martin", "asimov", "procrustes"]).metrics()
    assert [module["numerical_ranks"] for module in metrics["modules"]] == [[4, 3], [2, 3], [3, 3], [2, 3]]
    for module, entry in entries(metrics):
        for side in SIDES:
            X, Y = (frames(adapter.modules[module["name"]], side) for adapter in (first, second))
            np.testing.assert_allclose(entry[side]["angles"], angles(X, Y), atol=1e-6)
            assert entry[side]["random"] == max(X.shape[1], Y.shape[1]) / X.shape[0]
            for name, value in entry[side]["distances"].items():
                assert value == pytest.approx(float(distance(name, X, Y)), rel=1e-9)


def test_infinite_distances_are_null():
    X = torch.eye(6, 2, dtype=torch.float64)
    first, second = single(X, X.T), single(X.roll(3, 0), X.roll(3, 0).T)
    ((_, entry),) = entries(lorafold.compare([first, second], distances=["martin", "chordal"]).metrics())
    assert entry["left"]["distances"] == {"martin": None, "chordal": pytest.approx(math.sqrt(2))}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_merge_beside_its_inputs_to_the_digits_of_a_page(monkeypatch, dtype):
    pair = adapters(4, 3, shapes={"layer.0.q": (60, 50), "layer.0.fc1": (70, 40)})
    merged = lorafold.merge(pair, rank=4, dtype=dtype, device="cpu").adapter
    expected = lorafold.compare([*pair, merged], device="cpu").metrics()
    passes = []
    second = _reduce._second_pass
    monkeypatch.setattr(_reduce, "_second_pass", lambda *given: passes.append(given) or second(*given))
    found = compare_roughly([*pair, merged]).metrics()
    assert bool(passes) == (dtype == "float32")  # whose rounding leaves too little to tell the adapters apart by
    for (_, one), (_, other) in zip(entries(found, (0, 2)), entries(expected, (0, 2)), strict=True):
        for side in SIDES:
            assert one[side]["phi"] == pytest.approx(other[side]["phi"], abs=1e-6)
            assert one[side]["angles"] == pytest.approx(other[side]["angles"], abs=2e-6)


def test_the_demo_pair():
    metrics = lorafold.compare(DEMO).metrics()
    (pair,) = metrics["summary"]["pairs"]
    assert metrics["summary"]["modules"] == pair["modules"] == 36
    assert pair["left"]["beyond_random"] > 30 > pair["right"]["beyond_random"]
    assert pair["null"]["draws"] == [5, 23]  # of six, and of 24 layers of one shape
    assert pair["left"]["null_phi"] > 1.5 * pair["left"]["null_median"]
    assert pair["right"]["null_phi"] < 1.1 * pair["right"]["null_median"]
    assert pair["verdict"] == "practically independent"
    assert not pair["shared_initialisation"]["detected"]


def not_a_number():
    return single(torch.full((4, 2), torch.nan), torch.ones(2, 4))


@pytest.mark.parametrize(
    ("inputs", "changes", "message"),
    [
        (lambda: adapters(3), {}, "at least two"),
        (lambda: adapters(3, 5), {"distances": ["chrodal"]}, "Did you mean 'chordal'"),
        (lambda: adapters(3, 5), {"distances": "chordal"}, "expected a list"),
        (lambda: adapters(3, 5), {"alpha": 1.5}, "alpha=1.5"),
        (lambda: adapters(3, 5), {"alpha": math.nan}, "alpha=nan"),
        (lambda: [single(torch.ones(4, 2), torch.ones(2, 4)), not_a_number()], {}, "a.lora_up.weight"),
        (lambda: ["nope.safetensors", "b"], {}, "nope.safetensors"),
        (lambda: [single(torch.ones(4, 2), torch.ones(2, 4), form="peft"), *adapters(3)], {}, "cannot be matched"),
    ],
)
def test_mistakes_are_named(inputs, changes, message):
    with pytest.raises(LorafoldError, match=message):
        lorafold.compare(inputs(), **changes)


@pytest.mark.parametrize("narrower", [0, 1])
def test_a_rank_deficient_adapter_beside_a_wider_one(narrower):
    """The angles that do not exist must not come before those that do."""
    pair = adapters(3, 5)
    pair[0] = changed(pair[0], lambda m: replace(m, up=torch.cat([m.up[:, :1], m.up[:, :1], m.up[:, 2:]], 1)))
    pair = pair[::-1] if narrower else pair
    for module, entry in entries(lorafold.compare(pair, distances=list(DISTANCES)).metrics()):
        modules = [adapter.modules[module["name"]] for adapter in pair]
        for side in SIDES:
            X, Y = (frames(each, side) for each in modules)
            assert {entry[side]["k"], entry[side]["l"]} == {2, 5}
            np.testing.assert_allclose(entry[side]["angles"], angles(X, Y), atol=1e-6)
            for name, value in entry[side]["distances"].items():
                expected = distance(name, X, Y, completion="containment")
                assert value == pytest.approx(float(expected), abs=1e-10), name


def test_modules_keep_their_place_where_ranks_alternate():
    """Modules of one slot layout are compared together, and those of another lie between them."""
    shapes = {f"layer.{i}.q": (18, 20) for i in range(6)}
    pair = [
        random_adapter("kohya", shapes, {name: 2 + 3 * (i % 2) for i, name in enumerate(shapes)}, seed=s)
        for s in (0, 1)
    ]
    together = lorafold.compare(pair).metrics()["modules"]
    assert [module["name"] for module in together] == list(shapes)
    for module in together:
        (alone,) = lorafold.compare([changed(adapter, only=[module["name"]]) for adapter in pair]).metrics()["modules"]
        assert module["numerical_ranks"] == alone["numerical_ranks"] and module["norms"] == pytest.approx(
            alone["norms"]
        )
        for side in SIDES:
            one, other = module["pairs"][0][side], alone["pairs"][0][side]
            assert one["phi"] == pytest.approx(other["phi"]) and one["angles"] == pytest.approx(other["angles"])
