"""`tracker=`: what a run logs beside its metrics.json."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.common.errors import LorafoldError
from lorafold.runs import record_run
from lorafold.runs.run import Run
from lorafold.runs.tracking import find_tracker
from tests import command_lines


def test_an_unknown_tracker_is_refused():
    with pytest.raises(LorafoldError, match=r"unknown tracker 'mlfow'.*mlflow"):
        find_tracker("mlfow")


def test_without_a_place_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LorafoldError, match="MLFLOW_TRACKING_URI is not set"):
        find_tracker("mlflow")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_is_in_mlflow_with_its_settings_and_figures(tmp_path):
    """In a process of its own: MLflow keeps global state."""
    pytest.importorskip("mlflow")
    place = {"MLFLOW_TRACKING_URI": (tmp_path / "runs").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    words = "merge rank=3 page=false threads=1 tracker=mlflow hydra.run.dir=run".split()
    process = command_lines.new_process(*words, cwd=tmp_path, **place)
    assert process.returncode == 0, process.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    logged = {path.name: path.read_text() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert logged["rank"] == "3" and logged["objective.name"] == "chordal"
    value = float(logged["summary.reconstruction_error"].split()[1])
    assert value == pytest.approx(metrics["summary"]["reconstruction_error"])


def test_what_mlflow_is_told(monkeypatch):
    """Single values by their paths, texts cut to what it takes, figures as numbers; a list of files is no setting."""
    told = []
    stand_in = SimpleNamespace(
        set_experiment=lambda name: told.append(name),
        start_run=lambda run_name: nullcontext(told.append(run_name)),
        log_params=lambda params: told.append(params),
        log_metrics=lambda figures: told.append(figures),
    )
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:/runs")
    config = {"adapters": ["a" * 600, "b"], "weights": [0.7, 0.3], "solver": {"name": "x", "tol": None}}
    summary = {"seconds": 2, "scale": {"a": 1.5, "b": None}, "name": "merge", "converged": True}
    find_tracker("mlflow")("rank=3", {"config": config, "summary": summary})
    find_tracker("mlflow")("rank=3", {"config": {}, "summary": {}, "evaluation": {"judge": [0.5]}})
    assert told[:3] == ["lorafold", "rank=3", {
        "adapters": str(config["adapters"])[:500],
        **{"weights.1": "0.7", "weights.2": "0.3", "solver.name": "x", "solver.tol": "None"},
    }]  # fmt: skip
    assert (told[3], told[-1]) == ({"summary.seconds": 2.0, "summary.scale.a": 1.5}, {"evaluation.judge.1": 0.5})


@pytest.mark.parametrize(("overrides", "name"), [(["rank=3", "seed=1"], "rank=3 seed=1"), ([], "run")])
def test_a_run_is_called_what_was_asked_for_or_as_its_folder(tmp_path, monkeypatch, overrides, name):
    logged = []
    monkeypatch.setattr(record_run, "find_tracker", lambda tracker: lambda *entry: logged.append((tracker, *entry)))
    (tmp_path / "run").mkdir()
    config = MergeConfig(rank=2, solver="alternating", page=False, tracker="mlflow")
    metrics = merge(Run(tmp_path / "run", tmp_path, overrides, alone=False), config)
    assert logged == [("mlflow", name, metrics)]
