"""The numbers that a merge reports, against dense matrices of its inputs and of what it wrote."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import lorafold
from lorafold.adapters import Adapter
from lorafold.pipelines.merge.bucket import _drift
from lorafold.pipelines.merge.pipeline import _stages
from tests import oracles
from tests.builders import changed, random_adapter
from tests.builders import one_thread as one_thread

SHAPES = {"a": (20, 15), "b": (9, 30)}
WEIGHTS = [0.7, -0.2]
MODULE_KEYS = {
    *("name", "shape", "ranks", "rank", "objective", "objective_start", "gradient_norm", "iterations", "converged"),
    *(
        "gap",
        "curvature",
        "determined",
        "found_by",
        "orthonormality",
        "retained",
        "reconstruction_error",
        "left",
        "right",
        "phi_inputs",
    ),
}
SUMMARY_KEYS = {
    *(
        "modules",
        "converged",
        "found_by",
        "gap",
        "undetermined",
        "objective",
        "objective_start",
        "phi",
        "phi_inputs",
        "retained",
    ),
    *("reconstruction_error", "seconds", "peak_rss_mb", "scale"),
}


def pair() -> list[Adapter]:
    first = random_adapter("kohya", SHAPES, 4, seed=1, scale=0.5, dtype=torch.float32, path="a.safetensors")
    second = random_adapter("kohya", SHAPES, {"a": 3, "b": 5}, seed=2, dtype=torch.float16, path="b.safetensors")
    return [first, second]


@pytest.fixture(scope="module")
def result():
    return lorafold.merge(pair(), weights=WEIGHTS, rank=3, scale=2.0, dtype="float32")


@pytest.fixture(scope="module")
def metrics(result):
    return result.metrics()


def phi(X: Tensor, Y: Tensor) -> float:
    """The share of the smaller space that lies in the larger one."""
    return float((X.T @ Y).square().sum()) / min(X.shape[1], Y.shape[1])


def spaces(adapter: Adapter, name: str) -> tuple[Tensor, Tensor]:
    return oracles.points(oracles.update(adapter.modules[name]), "all")


def test_the_shape_of_the_report(metrics):
    assert set(metrics) == {"inputs", "summary", "modules"}
    assert set(metrics["summary"]) == SUMMARY_KEYS
    assert all(set(module) == MODULE_KEYS for module in metrics["modules"])
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert set(metrics["summary"]["phi"]) == {"left", "right"}
    assert all(len(module[side]["phi"]) == 2 for module in metrics["modules"] for side in ("left", "right"))


def test_inputs(metrics):
    assert [entry["path"] for entry in metrics["inputs"]] == ["a.safetensors", "b.safetensors"]
    assert [entry["format"] for entry in metrics["inputs"]] == ["kohya", "kohya"]
    assert [entry["modules"] for entry in metrics["inputs"]] == [2, 2]
    assert [entry["ranks"] for entry in metrics["inputs"]] == [[4], [3, 5]]
    assert [entry["dtype"] for entry in metrics["inputs"]] == [["float32"], ["float16"]]
    for entry, adapter in zip(metrics["inputs"], pair(), strict=True):
        energy = sum(float(oracles.update(module).square().sum()) for module in adapter.modules.values())
        assert entry["norm"] == pytest.approx(math.sqrt(energy), rel=1e-12)


def test_modules_are_described_in_the_order_of_the_merged_adapter(metrics):
    assert [module["name"] for module in metrics["modules"]] == ["a", "b"]
    assert [module["shape"] for module in metrics["modules"]] == [[20, 15], [9, 30]]
    assert [module["ranks"] for module in metrics["modules"]] == [[4, 3], [4, 5]]
    assert [module["rank"] for module in metrics["modules"]] == [3, 3]


def test_energies_and_overlaps(result, metrics):
    for module in metrics["modules"]:
        name = module["name"]
        merged = result.adapter.modules[name]
        U, V = torch.linalg.qr(merged.up.double())[0], torch.linalg.qr(merged.down.double().T)[0]
        for i, adapter in enumerate(pair()):
            delta, sides = oracles.update(adapter.modules[name]), spaces(adapter, name)
            kept = oracles.projector(U) @ delta @ oracles.projector(V)
            retained = float(kept.square().sum() / delta.square().sum())
            assert module["retained"][i] == pytest.approx(retained, rel=1e-5)
            for side, frame, space in (("left", U, sides[0]), ("right", V, sides[1])):
                assert module[side]["phi"][i] == pytest.approx(phi(frame, space), rel=1e-5)
        both = [spaces(adapter, name) for adapter in pair()]
        for position, side in enumerate(("left", "right")):
            assert module["phi_inputs"][side] == pytest.approx(phi(both[0][position], both[1][position]), rel=1e-9)


def test_reconstruction_error(result, metrics):
    for module in metrics["modules"]:
        deltas = [oracles.update(adapter.modules[module["name"]]) for adapter in pair()]
        wanted = 2.0 * oracles.target(deltas, WEIGHTS)
        error = oracles.relative(oracles.update(result.adapter.modules[module["name"]]), wanted) ** 2
        assert module["reconstruction_error"] == pytest.approx(error, rel=1e-5)


def test_summary_values_are_means_over_the_modules(metrics):
    summary, modules = metrics["summary"], metrics["modules"]
    assert summary["modules"] == summary["converged"] == 2
    for key in ("objective", "objective_start", "reconstruction_error"):
        assert summary[key] == pytest.approx(sum(module[key] for module in modules) / 2)
    for i in range(2):
        assert summary["retained"][i] == pytest.approx(sum(module["retained"][i] for module in modules) / 2)
        for side in ("left", "right"):
            assert summary["phi"][side][i] == pytest.approx(sum(module[side]["phi"][i] for module in modules) / 2)
    assert {"read", "gram", "solve", "core", "lift"} <= set(summary["seconds"])
    assert all(value >= 0 for value in summary["seconds"].values())
    assert summary["peak_rss_mb"] > 10


def test_what_is_not_defined_is_null():
    """An adapter without the module, an update of zero, a single adapter, a target of zero."""
    first, second = pair()
    few = replace(second, modules={"a": second.modules["a"]})
    silent = changed(first, lambda m: replace(m, up=0 * m.up) if m.name == "b" else m)
    a, b = lorafold.merge([silent, few], rank=2).metrics()["modules"]
    assert all(isinstance(value, float) for value in (*a["retained"], *a["left"]["phi"], a["phi_inputs"]["left"]))
    assert b["retained"] == b["left"]["phi"] == b["right"]["phi"] == [None, None]
    assert b["phi_inputs"] == {"left": None, "right": None} and b["reconstruction_error"] is None
    alone = lorafold.merge([first], rank=2).metrics()
    assert alone["summary"]["phi_inputs"] == {"left": None, "right": None}
    json.dumps(alone, allow_nan=False)


def test_a_target_that_cancels_is_none():
    """What rounding leaves of ΔW - ΔW is nothing to reconstruct, neither for the metrics nor for the objective."""
    first, _ = pair()
    cancelled = lorafold.merge([first, first], weights=[1, -1], rank=2).metrics()
    assert cancelled["summary"]["reconstruction_error"] is None
    without = lorafold.merge([first, first], weights=[1, -1], rank=2, reconstruction_weight=0).metrics()
    assert cancelled["summary"]["objective"] == pytest.approx(without["summary"]["objective"], abs=1e-12)


def test_means_leave_out_what_is_not_defined():
    first, second = pair()
    few = replace(second, modules={"a": second.modules["a"]})
    metrics = lorafold.merge([first, few], rank=2).metrics()
    assert metrics["summary"]["retained"][1] == metrics["modules"][0]["retained"][1]
    assert metrics["modules"][1]["retained"][1] is None


def test_at_full_rank_everything_is_retained():
    for module in lorafold.merge(pair(), weights=WEIGHTS, rank="max").metrics()["modules"]:
        assert module["retained"] == pytest.approx([1, 1], abs=1e-12)
        assert module["left"]["phi"] == pytest.approx([1, 1], abs=1e-12)
        assert module["reconstruction_error"] == pytest.approx(0, abs=1e-24)
        assert module["objective"] == pytest.approx(0, abs=1e-12)


def test_an_adapter_in_memory_has_no_path():
    metrics = lorafold.merge([replace(adapter, path=None) for adapter in pair()], rank=2).metrics()
    assert [entry["path"] for entry in metrics["inputs"]] == [None, None]
    files = [replace(adapter, path=Path("x.safetensors")) for adapter in pair()]
    assert lorafold.merge(files, rank=2).metrics()["inputs"][0]["path"] == "x.safetensors"


def test_overlap_of_the_inputs_is_that_of_the_adapters_that_have_the_module():
    first, second = pair()
    third = random_adapter("kohya", SHAPES, 2, seed=3)
    few = replace(second, modules={"a": second.modules["a"]})
    whole, without = (lorafold.merge(adapters, rank=2).metrics() for adapters in ([first, few, third], [first, third]))
    for side in ("left", "right"):
        assert whole["modules"][1]["phi_inputs"][side] == pytest.approx(without["modules"][1]["phi_inputs"][side])


def test_seconds_of_the_stages_add_up_to_those_of_the_merge():
    """Threads spend more than passes on the clock: shares of it are told."""
    spent = ({"gram": 1.0, "solve": 3.0}, {"gram": 1.0, "lift": 3.0})
    found = _stages({"read": 0.5, "merge": 4.0}, [SimpleNamespace(seconds=seconds) for seconds in spent])
    assert found == {"read": 0.5, "gram": 1.0, "solve": 1.5, "lift": 1.5}


@pytest.mark.parametrize("cosine", [0.0, 0.6, -0.6])
def test_columns_that_are_not_orthogonal_read_as_drift(cosine):
    """Of any size, beside a module whose columns are; a column of zeros is none."""
    turned = torch.tensor([[1, cosine, 0], [0, math.sqrt(1 - cosine**2), 0], [0, 0, 0]], dtype=torch.float64)
    frames = torch.stack([turned, torch.eye(3, dtype=torch.float64)]) * torch.tensor([3, 0.25, 1], dtype=torch.float64)
    assert _drift(frames.mT @ frames).tolist() == pytest.approx([abs(cosine), 0], abs=1e-14)
