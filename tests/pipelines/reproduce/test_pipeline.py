"""A merge repeated from Python: its verdict, and that the run stays as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.pipelines.reproduce.agreement import Agreement
from lorafold.pipelines.reproduce.pipeline import ReproduceResult
from tests.commands.reproduce.test_run import edit_adapter
from tests.commands.reproduce.test_run import finished as finished
from tests.commands.reproduce.test_run import record as record
from tests.demo_pair import FEW


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_repetition_is_identical_and_the_run_stays_as_it_is(record):
    before, threads = contents(record.parent), torch.get_num_threads()
    result = lorafold.reproduce(str(record))
    assert contents(record.parent) == before and torch.get_num_threads() == threads
    assert result.verdict == "identical" and max(result.angle, result.difference) < 1e-12  # two SVDs, and rounding
    assert repr(result).startswith(f"ReproduceResult(identical, {len(FEW)} modules, angle ") and len(repr(result)) < 100
    metrics = json.loads(json.dumps(result.metrics()))
    assert metrics["summary"] == {
        "verdict": "identical",
        "angle": result.angle,
        "difference": result.difference,
        "modules": len(FEW),
    }
    assert [module["name"] for module in metrics["modules"]] == list(result.again.adapter.modules)
    then = json.loads((record / "metrics.json").read_text("utf-8"))
    assert result.again.metrics()["modules"] == then["modules"]


def test_the_largest_deviations_are_those_of_the_result():
    modules = (Agreement("a", False, 1e-9, 1e-3), Agreement("b", False, 1e-8, 1e-4))
    result = ReproduceResult(None, modules, 1e-3)
    assert (result.angle, result.difference, result.verdict) == (1e-8, 1e-3, "equal")
    assert replace(result, tolerance=1e-4).verdict == "different"
    assert repr(result) == "ReproduceResult(equal, 2 modules, angle 1.0e-08 rad, difference 1.0e-03)"


@pytest.mark.parametrize(("tolerance", "verdict"), [(1e-3, "equal"), (1e-6, "different")])
def test_a_changed_result_is_measured(record, tolerance, verdict):
    edit_adapter(record, lambda value: value * (1 + 1e-5))
    result = lorafold.reproduce(record, tolerance=tolerance)
    assert result.verdict == verdict and result.difference == pytest.approx(2e-5, rel=0.1)
    assert [module.name for module in result.modules] == list(result.again.adapter.modules)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerance": -1.0}, "tolerance=-1.0, expected >= 0"),
        ({"tolerance": float("nan")}, "tolerance=nan, expected >= 0"),
        ({"threads": -1}, "threads=-1, expected at least 1"),
        ({"run": "nowhere"}, "nowhere: no readable metrics.json"),
    ],
    ids=str,
)
def test_what_cannot_be_repeated_is_refused(record, change, message):
    with pytest.raises(lorafold.LorafoldError, match=message):
        lorafold.reproduce(**{"run": record, **change})
