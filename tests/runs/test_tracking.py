"""`tracker=`: what a run logs beside its metrics.json."""

from __future__ import annotations

import json

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


def test_a_run_is_in_mlflow_with_its_settings_and_figures(tmp_path):
    """In a process of its own: MLflow keeps global state."""
    pytest.importorskip("mlflow")
    place = {"MLFLOW_TRACKING_URI": (tmp_path / "runs").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    words = "merge rank=3 page=false threads=1 tracker=mlflow hydra.run.dir=run".split()
    process = command_lines.lorafold(*words, cwd=tmp_path, **place)
    assert process.returncode == 0, process.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    logged = {path.name: path.read_text() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert logged["rank"] == "3" and logged["objective.name"] == "chordal"
    value = float(logged["summary.reconstruction_error"].split()[1])
    assert value == pytest.approx(metrics["summary"]["reconstruction_error"])


@pytest.mark.parametrize(("overrides", "name"), [(["rank=3", "seed=1"], "rank=3 seed=1"), ([], "run")])
def test_a_run_is_called_what_was_asked_for_or_as_its_folder(tmp_path, monkeypatch, overrides, name):
    logged = []
    monkeypatch.setattr(record_run, "find_tracker", lambda tracker: lambda *entry: logged.append((tracker, *entry)))
    (tmp_path / "run").mkdir()
    config = MergeConfig(rank=2, solver="alternating", page=False, tracker="mlflow")
    metrics = merge(Run(tmp_path / "run", tmp_path, overrides, alone=False), config)
    assert logged == [("mlflow", name, metrics)]
