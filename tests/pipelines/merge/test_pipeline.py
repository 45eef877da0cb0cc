"""The merge against dense float64 computations, on every module of the shipped pair."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.common.progress import Stage
from tests import oracles
from tests.builders import DEMO, changed, demo, random_adapter
from tests.builders import one_thread as one_thread
from tests.demo_pair import FEW, NAMES, TIGHT, WEIGHTS, change, few, frames, inputs, spaces, worst
from tests.oracles import updates


class TestExactness:
    """From files, in float32: what is left is its rounding, 6e-8."""

    @pytest.mark.parametrize(("position", "rank"), [(0, 24), (1, 16)])
    def test_one_adapter_at_weight_one_is_itself(self, position, rank):
        result = lorafold.merge([DEMO[position]], weights=[1], rank="max", dtype="float32")
        assert worst(result, lambda name: inputs(name)[position]) < 1e-6
        assert {module.rank for module in result.adapter.modules.values()} == {rank}

    @pytest.mark.parametrize(
        ("objective", "weights"), [("chordal", [1.0, 1.0]), ("phi", [0.7, -0.3]), ("geodesic", [2.0, 0.5])]
    )
    def test_at_the_joint_rank_two_adapters_are_their_weighted_sum(self, objective, weights):
        result = lorafold.merge(DEMO, weights=weights, rank="max", dtype="float32", objective=objective)
        assert worst(result, lambda name: oracles.target(inputs(name), weights)) < 1e-6
        assert {module.rank for module in result.adapter.modules.values()} == {40}

    @pytest.mark.parametrize("options", [{"weights": "mean"}, {"scale": 1.0}, {"balance": False}], ids=str)
    def test_and_their_mean_where_that_is_said(self, options):
        result = lorafold.merge(DEMO, rank="max", dtype="float32", **options)
        assert worst(result, lambda name: oracles.target(inputs(name), [0.5, 0.5])) < 1e-6

    def test_the_rule_mean_divides_by_the_weights(self):
        result = lorafold.merge(DEMO, weights=[3, 1], rank="max", dtype="float32", core="mean")
        assert worst(result, lambda name: oracles.target(inputs(name), [0.75, 0.25])) < 1e-6

    def test_scale_is_a_factor(self):
        result = lorafold.merge(DEMO, weights=[1, 1], rank="max", dtype="float32", scale=-0.5)
        assert worst(result, lambda name: -0.5 * sum(inputs(name))) < 1e-6

    def test_reconstruction_alone_is_the_truncated_svd_of_the_sum(self):
        ranks = [8, 16, 32]
        options = {"weights": WEIGHTS, "dtype": "float32", "subspace_weight": 0}
        merged = [updates(lorafold.merge(DEMO, rank=rank, **options).adapter) for rank in ranks]
        for name in NAMES:
            total = oracles.target(inputs(name), WEIGHTS)
            for found, best in zip(merged, oracles.truncations(total, ranks), strict=True):
                assert oracles.relative(found[name], total) == pytest.approx(oracles.relative(best, total), rel=1e-6)
                assert oracles.relative(found[name], best) < 1e-6

    @pytest.mark.parametrize("rank", [8, 16, 32])
    def test_chordal_alone_spans_the_leading_eigenvectors_of_the_mean_projector(self, rank):
        result = lorafold.merge(DEMO, weights=WEIGHTS, rank=rank, dtype="float32", reconstruction_weight=0)
        for name, module in result.adapter.modules.items():
            for found, sides in zip(frames(module), zip(*spaces(name), strict=True), strict=True):
                weighted = torch.cat([math.sqrt(w) * X for w, X in zip(WEIGHTS, sides, strict=True)], 1)
                vectors, roots, _ = torch.linalg.svd(weighted, full_matrices=False)
                assert roots[rank - 1] ** 2 - roots[rank] ** 2 > 1e-4  # the gap that makes it unique
                assert oracles.largest_angle(found, vectors[:, :rank]) < 1e-5

    @pytest.mark.parametrize("weights", [[0.5, 0.5], [0.8, 0.2]])
    def test_geodesic_alone_at_equal_ranks_is_a_point_of_the_geodesic(self, weights):
        """X cos(tθ) + Z sin(tθ) in principal vectors; the midpoint at equal weights."""
        shapes = {"a": (40, 30), "b": (25, 60)}
        pair = [random_adapter("kohya", shapes, 4, seed=seed) for seed in (0, 1)]
        options = {"objective": "geodesic", "reconstruction_weight": 0, "solver": TIGHT, "rank": 4}
        result = lorafold.merge(pair, weights=weights, **options)
        for name, module in result.adapter.modules.items():
            sides = zip(*(oracles.points(oracles.update(a.modules[name]), "all") for a in pair), strict=True)
            for found, (X, Y) in zip(frames(module), sides, strict=True):
                Q, cos, Rt = torch.linalg.svd(X.T @ Y)
                theta = torch.arccos(cos)
                Z = (Y @ Rt.T - (X @ Q) * cos) / theta.sin()
                at = (X @ Q) * (weights[1] * theta).cos() + Z * (weights[1] * theta).sin()
                assert oracles.largest_angle(found, at) < 1e-6


class TestConvergence:
    """Every module of the shipped pair, with the default settings."""

    @pytest.mark.parametrize(
        ("objective", "rank"),
        [*((name, rank) for name in ("chordal", "phi") for rank in (8, 16, 32)), ("geodesic", 8)],
    )
    def test_all_modules_converge_below_their_start(self, objective, rank):
        result = lorafold.merge(DEMO, objective=objective, rank=rank, dtype="float32")
        metrics = result.metrics()
        assert metrics["summary"]["converged"] == metrics["summary"]["modules"] == len(NAMES)
        for module in metrics["modules"]:
            assert module["objective"] <= module["objective_start"]
            assert module["orthonormality"] < 1e-9

    @pytest.mark.parametrize("objective", ["chordal", "geodesic"])
    def test_the_objective_is_what_its_definition_gives_for_the_merged_spaces(self, objective):
        pair = [changed(adapter, only=FEW[:2]) for adapter in demo()]
        result = lorafold.merge(pair, weights=WEIGHTS, objective=objective, rank=8)
        for entry in result.metrics()["modules"]:
            U, V = (torch.linalg.qr(frame)[0] for frame in frames(result.adapter.modules[entry["name"]]))
            expected = oracles.objective(inputs(entry["name"]), WEIGHTS, U, V, distance=objective)
            assert entry["objective"] == pytest.approx(expected, abs=1e-9)

    def test_a_run_that_is_cut_short_says_so(self):
        result = lorafold.merge(DEMO, rank=16, solver={"name": "alternating", "max_sweeps": 0})
        metrics = result.metrics()
        assert metrics["summary"]["converged"] == 0
        assert all(module["gradient_norm"] > 1e-4 and module["iterations"] == 0 for module in metrics["modules"])


@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_a_saved_merge_loads_with_the_same_updates(tmp_path, form):
    pair = [random_adapter(form, {"a.q": (20, 15), "a.v": (9, 40)}, rank, seed=rank) for rank in (3, 5)]
    result = lorafold.merge(pair, rank=4, weights=[1, -0.5])
    again = lorafold.load(lorafold.save(result.adapter, tmp_path / ("m.safetensors" if form == "kohya" else "m")))
    for name, delta in updates(result.adapter).items():
        assert oracles.relative(oracles.update(again.modules[name]), delta) < 1e-14
        assert again.modules[name].rank == 4


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 1e-2)])
def test_factors_are_rounded_to_the_dtype_asked_for(tmp_path, dtype, error):
    result = lorafold.merge(few(), rank="max", weights=[1, 1], dtype=dtype)
    assert {(m.up.dtype, m.down.dtype) for m in result.adapter.modules.values()} == {(getattr(torch, dtype),) * 2}
    assert worst(result, lambda name: sum(inputs(name))) < error
    again = lorafold.load(lorafold.save(result.adapter, tmp_path / "merged"))
    assert {module.up.dtype for module in again.modules.values()} == {getattr(torch, dtype)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_by_default_the_dtype_is_that_of_the_first_adapter(dtype):
    pair = [random_adapter("kohya", {"a": (8, 6)}, 2, dtype=kind) for kind in (dtype, torch.float32)]
    assert lorafold.merge(pair, rank=2).adapter.modules["a"].up.dtype == dtype


def test_the_factors_are_balanced_and_carry_no_scale():
    """Columns of up and rows of down of equal length, so that neither side leaves the range of fp16 first."""
    result = lorafold.merge(few(), rank=16)
    for module in result.adapter.modules.values():
        torch.testing.assert_close(module.up.norm(dim=0), module.down.norm(dim=1), rtol=1e-9, atol=0)
        assert module.scale == 1.0
        gram = module.up.mT @ module.up
        torch.testing.assert_close(gram, gram.diagonal().diag(), rtol=0, atol=1e-9)


def test_progress_counts_the_modules_of_every_stage():
    seen = []
    lorafold.merge(few(), rank=4, progress=lambda *told: seen.append(told))
    for stage in (Stage.MERGE, Stage.LIFT):
        counts = [count for told, count, total in seen if told is stage and total == len(FEW)]
        assert counts[0] == 0 and counts[-1] == len(FEW) and counts == sorted(counts)
    assert [*dict.fromkeys(stage for stage, *_ in seen)] == [Stage.MERGE, Stage.LIFT]


def test_progress_tells_of_the_search_for_a_rank_that_keeps_more():
    seen = []
    lorafold.merge(few(), rank=1, weights=[1, 0.01], progress=lambda *told: seen.append(told))
    assert [*dict.fromkeys(stage for stage, *_ in seen)] == [Stage.MERGE, Stage.LIFT, Stage.OTHER_RANK]
    assert seen[-1] == (Stage.OTHER_RANK, len(FEW), len(FEW))


def test_settings_and_changes_are_the_same_thing():
    settings = lorafold.MergeSettings(rank=8, objective="phi", weights=[1, 2], solver="alternating")
    one = lorafold.merge(few(), settings)
    other = lorafold.merge(few(), rank=8, objective="phi", weights=[1, 2], solver="alternating")
    third = lorafold.merge(few(), replace(settings, rank=9), rank=8)
    assert change(one, other) == change(one, third) == 0.0


def test_metrics_are_plain_json_even_with_modules_that_have_nothing():
    pair = [random_adapter("kohya", {"a": (8, 6), "b": (8, 6)}, 2), random_adapter("kohya", {"c": (7, 7)}, 3)]
    zero = changed(pair[0], lambda m: replace(m, up=0 * m.up) if m.name == "b" else m)
    text = json.dumps(lorafold.merge([zero, pair[1]], rank=2).metrics(), allow_nan=False)
    assert [module["name"] for module in json.loads(text)["modules"]] == ["a", "b", "c"]
