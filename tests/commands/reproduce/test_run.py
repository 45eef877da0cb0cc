"""A merge repeated: the same, nearly the same, not the same, or not to be compared."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from lorafold.adapters import save
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.commands.reproduce.config import ReproduceConfig
from lorafold.commands.reproduce.run import reproduce
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.run import Run
from tests.builders import changed, demo
from tests.demo_pair import FEW


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a merge's inputs and its run."""
    place = tmp_path_factory.mktemp("finished")
    paths = [str(save(changed(adapter, only=FEW), place / str(i))) for i, adapter in enumerate(demo())]
    folder = place / "run"
    folder.mkdir()
    solver = {"name": "alternating", "max_sweeps": 5}
    settings = MergeSettings(rank=3, weights=[0.6, 0.4], solver=solver, core={"name": "ties", "density": 0.5})
    merge(Run(folder, place, alone=False), MergeConfig(**vars(settings), adapters=paths, page=False, threads=1))
    return place


@pytest.fixture
def record(finished, tmp_path):
    """The folder of that run, as if it had been here."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "run").glob("*.*"):
        path.write_text(path.read_text(encoding="utf-8").replace(str(finished), str(tmp_path)), encoding="utf-8")
    return tmp_path / "run"


def repeated(folder, **change):
    here = folder.parent / "again"
    here.mkdir()
    return reproduce(Run(here, folder.parent), ReproduceConfig(run=str(folder), **change))


def edit_adapter(folder, change):
    path = folder / "merged" / "adapter_model.safetensors"
    save_file({key: change(value) for key, value in load_file(path).items()}, path, metadata={"format": "pt"})


def test_a_repetition_is_identical_and_leaves_its_record(record, capsys):
    metrics = repeated(record)
    assert metrics["summary"]["verdict"] == "identical"
    assert metrics == json.loads((record.parent / "again" / "metrics.json").read_text())
    assert metrics["changes"] == {}
    assert len(metrics["modules"]) == len(FEW)
    assert (record.parent / "again" / "again" / "merged").is_dir()
    assert "identical: every factor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("factor", "tolerance", "verdict"),
    [(1 + 1e-5, 1e-3, "equal"), (1 + 1e-5, 1e-6, "different"), (1.1, 1e-3, "different")],
)
def test_a_changed_result_is_measured(record, factor, tolerance, verdict):
    edit_adapter(record, lambda value: value * factor)
    summary = repeated(record, tolerance=tolerance)["summary"]
    assert summary["verdict"] == verdict
    assert summary["difference"] == pytest.approx(1 - factor**-2, rel=0.1)  # both factors have grown
    assert summary["angle"] < 1e-6


def test_a_run_that_was_moved_is_found(record):
    moved = record.parent / "elsewhere"
    shutil.move(record, moved)
    assert repeated(moved)["summary"]["verdict"] == "identical"


def test_what_has_changed_since_is_said(record, capsys):
    content = json.loads((record / "metrics.json").read_text())
    content["environment"]["torch"] = "1.0"
    (record / "metrics.json").write_text(json.dumps(content))
    assert repeated(record)["changes"]["torch"][0] == "1.0"
    assert "torch: 1.0 then" in capsys.readouterr().out


def test_changed_inputs_stop_it(record):
    path = record.parent / "0" / "adapter_model.safetensors"
    save_file({key: 2 * value for key, value in load_file(path).items()}, path, metadata={"format": "pt"})
    with pytest.raises(LorafoldError, match=r"0 changed since that run"):
        repeated(record)
    assert not list((record.parent / "again").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": None}, "expected a folder"),
        ({"run": "nowhere"}, "no readable metrics.json"),
        ({"tolerance": -1.0}, "tolerance"),
    ],
    ids=str,
)
def test_what_cannot_be_repeated_is_refused(record, change, message):
    job = ReproduceConfig(**{"run": str(record), **change})
    with pytest.raises(LorafoldError, match=message):
        reproduce(Run(record.parent, record.parent), job)


@pytest.mark.parametrize("command", ["compare", None])
def test_other_commands_are_not_repeated(record, command):
    (record / "metrics.json").write_text(json.dumps({"command": command}))
    with pytest.raises(LorafoldError, match="expected one of 'merge'"):
        repeated(record)
