"""Runs of `extract` and `fuse`: what they leave, and that a repetition leaves the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from lorafold.adapters.checkpoints.checkpoint import open_checkpoint
from tests.adapters.checkpoints.models import LLAMA, changed, llama, model_folder
from tests.command_lines import lorafold, refused


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models BASE and TUNED, and runs X and F."""
    folder = tmp_path_factory.mktemp("here")
    model_folder(folder / "BASE", llama())
    model_folder(folder / "TUNED", changed(llama(), rank=3), shards=1)
    extracted = lorafold("extract", "base=BASE", "tuned=TUNED", "rank=2", "hydra.run.dir=X", cwd=folder)
    fused = lorafold("fuse", "base=BASE", "adapters=X/extracted", "weights=[2]", "hydra.run.dir=F", cwd=folder)
    assert (extracted.returncode, fused.returncode) == (0, 0), extracted.stderr + fused.stderr
    return folder


def record(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_the_record_of_an_extraction(place: Path) -> None:
    metrics = record(place / "X")
    assert metrics["command"] == "extract"
    assert metrics["config"]["tuned"] == metrics["inputs"][0]["path"] == str(place / "TUNED")
    assert metrics["base"] == {
        "path": str(place / "BASE"),
        "files": 2,
        "bytes": open_checkpoint(place / "BASE").files.size,
    }
    assert metrics["output"] == {"path": str(place / "X" / "extracted"), "format": "peft"}
    assert {module["rank"] for module in metrics["modules"]} == {2}
    assert 0 < metrics["summary"]["error"] < 1 - metrics["summary"]["retained"] + 1e-6
    with safe_open(place / "X" / "extracted" / "adapter_model.safetensors", "pt") as file:
        entry = json.loads(file.metadata()["lorafold"])
    assert entry["command"] == "extract" and entry["method"]["rank"] == 2 and "tuned" not in entry["method"]


def test_the_record_of_fusing(place: Path) -> None:
    metrics = record(place / "F")
    assert metrics["config"]["weights"] == [2]
    assert metrics["output"] == {"path": str(place / "F" / "fused")}
    assert (metrics["summary"]["changed"], metrics["summary"]["tensors"]) == (6, len(llama()))
    assert {entry["name"] for entry in metrics["modules"]} == set(LLAMA)
    assert len(metrics["inputs"][0]["sha256"]) == 64


@pytest.mark.parametrize(("command", "run", "output"), [("extract", "X", "extracted"), ("fuse", "F", "fused")])
def test_a_repetition(place: Path, command: str, run: str, output: str) -> None:
    again = lorafold(command, "-cd", run, "-cn", "resolved", "hydra.run.dir=again", cwd=place)
    assert again.returncode == 0, again.stderr
    for file in (path for path in (place / run / output).iterdir() if path.suffix == ".safetensors"):
        assert (place / "again" / output / file.name).read_bytes() == file.read_bytes()
    shutil.rmtree(place / "again")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["extract"], "base=None, expected a model"),
        (["extract", "base=BASE"], "tuned=None, expected a model"),
        (["extract", "base=BASE", "tuned=BASE"], "no layer differs"),
        (["extract", "base=BASE", "tuned=org/model"], "hf download org/model"),
        (["extract", "base=BASE", "tuned=TUNED", "output=TUNED"], "must not be overwritten"),
        (["fuse", "base=BASE"], "adapters=None, expected a list"),
        (["fuse", "base=BASE", "adapters=TUNED"], "this is a whole model"),
        (["fuse", "base=BASE", "adapters=X/extracted", "output=BASE"], "must not be overwritten"),
        (["fuse", "base=BASE", "adapters=X/extracted", "output=TUNED"], "exists already"),
    ],
)
def test_mistakes_end_in_one_line(place: Path, words: list[str], said: str) -> None:
    assert said in refused(lorafold(*words, cwd=place))
