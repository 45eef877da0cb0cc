"""The command: what a run leaves, from the settings of a user to the record, and what it refuses."""

from __future__ import annotations

import json

import pytest

import lorafold
from lorafold.commands.distill.config import DistillConfig
from lorafold.commands.distill.run import STATE, distill
from lorafold.commands.distill.table import one_line, show
from lorafold.common.errors import LorafoldError
from lorafold.runs.run import Run
from tests.builders import one_thread as one_thread
from tests.pipelines.distill.distill_cases import as_pissa, on_disk

INPUTS = ["a_in.safetensors", "b_in.safetensors"]
JOB = {"adapters": ["a", "b"], "base": "MODEL", "inputs": INPUTS, "rank": 3, "steps": 6}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("here")
    on_disk(place)
    return place


def run_in(place, name="run"):
    (place / name).mkdir(exist_ok=True)
    return Run(place / name, place, ["rank=3"])


def test_what_it_leaves(place, capsys):
    run = run_in(place)
    metrics = distill(run, DistillConfig(**JOB))
    assert metrics == json.loads((run.folder / "metrics.json").read_text())
    assert {path.name for path in run.folder.iterdir()} == {"distilled", "metrics.json", "resolved.yaml"}
    assert metrics["config"]["inputs"] == [str(place / name) for name in JOB["inputs"]]
    assert metrics["config"]["base"] == str(place / "MODEL")
    assert [(each["seen"], each["held_back"]) for each in metrics["inputs"]] == [(18, 2)] * 2
    assert len(metrics["losses"]) == 6 and metrics["summary"]["kept"] in ("learnt", "start")
    written = lorafold.load(run.folder / "distilled")
    assert {module.rank for module in written.modules.values()} == {3}
    said = capsys.readouterr().out
    assert "4 modules, rank 3, grassmann, 6 steps" in said and "merged adapter: " in said
    assert all(len(line) <= 80 for line in said.splitlines()[:-1])


def test_it_is_the_librarys_own(place):
    from lorafold.models.load import load_model

    run = run_in(place, "own")
    distill(run, DistillConfig(**JOB, threads=1))
    loaded = load_model(place / "MODEL")
    corpora = [lorafold_inputs(place / name, loaded) for name in JOB["inputs"]]
    result = lorafold.distill([place / "a", place / "b"], model=loaded.model, inputs=corpora, rank=3, steps=6)
    written = lorafold.load(run.folder / "distilled")
    for name, module in result.adapter.modules.items():
        assert module.up.equal(written.modules[name].up) and module.down.equal(written.modules[name].down)


def test_adapters_that_changed_their_base_become_plain_by_the_model_at_hand(place):
    files = {name: as_pissa(place / name, place / f"pissa_{name}") for name in "ab"}
    for name, file in files.items():
        lorafold.save(lorafold.load(file, base=place / "MODEL"), place / f"plain_{name}")
    ours, theirs = (
        distill(run_in(place, form), DistillConfig(**{**JOB, "adapters": [f"{form}_a", f"{form}_b"]}, threads=1))
        for form in ("pissa", "plain")
    )
    assert ours["losses"] == theirs["losses"]


def lorafold_inputs(path, loaded):
    from lorafold.models.inputs import read_inputs

    return read_inputs(path).batches(loaded.tokenizer, 1)


def test_where_nothing_is_learnt_it_is_said(place, capsys):
    metrics = distill(run_in(place, "nothing"), DistillConfig(**JOB, learning_rate=0.0, core_rate=0.0))
    said = capsys.readouterr().out
    assert "the adapter is the start" in " ".join(said.split()) and "start kept" in one_line(metrics)
    show(metrics)


def test_a_run_that_was_stopped_goes_on(place, monkeypatch):
    whole = distill(run_in(place, "whole"), DistillConfig(**JOB, save_every=2, threads=1))
    run, module = run_in(place, "stopped"), __import__("lorafold.pipelines.distill.train", fromlist=["train"])
    real, calls = module.batch_of, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, "batch_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        distill(run, DistillConfig(**JOB, save_every=2, threads=1))
    assert {path.name for path in run.folder.iterdir()} == {STATE}
    monkeypatch.setattr(module, "batch_of", real)
    resumed = distill(run, DistillConfig(**JOB, save_every=2, threads=1, resume=True))
    assert resumed["losses"] == whole["losses"] and not (run.folder / STATE).exists()
    again = distill(run, DistillConfig(**JOB, save_every=2, threads=1, resume=True))
    assert again["summary"]["seconds"] == resumed["summary"]["seconds"]  # the record of before


def test_an_adapter_that_is_further_away_is_named(place, capsys):
    metrics = distill(run_in(place, "worse"), DistillConfig(**JOB))
    for entry, before, after in zip(metrics["inputs"], (0.9, 0.2), (0.3, 0.4), strict=True):
        entry |= {"before": before, "after": after}
    capsys.readouterr()
    for kept, words in (("learnt", "Further away than the start was: b."), ("start", "the adapter is the start")):
        metrics["summary"]["kept"] = kept
        show(metrics)
        assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": None}, "base=None, expected the model"),
        ({"base": "nowhere"}, "nowhere: no such folder"),
        ({"inputs": None}, "inputs=None, expected a list with a file for each of 2 adapters"),
        ({"inputs": ["a_in.safetensors"]}, "expected a list with a file for each of 2"),
        ({"inputs": ["a_in.safetensors", "a_in.safetensors"]}, "adapters 1 and 2 have the same inputs"),
        ({"inputs": ["a_in.safetensors", "nope.txt"]}, "nope.txt: no such file"),
        ({"inputs": ["a_in.safetensors", "few.txt"]}, "few.txt"),
        ({"manifold": "sphere"}, "unknown manifold"),
        ({"adapters": ["a", "nope"]}, "nope"),
        ({"output": "a_in.safetensors", "overwrite": True}, "the output is the input"),
    ],
)
def test_what_is_refused(place, changes, message):
    (place / "few.txt").write_text("one\ntwo\n")
    run = run_in(place, "refused")
    with pytest.raises(LorafoldError, match=message):
        distill(run, DistillConfig(**{**JOB, **changes}))
    assert not list(run.folder.iterdir())
