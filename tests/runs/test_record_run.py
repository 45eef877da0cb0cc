"""The run of a command, with a command that does next to nothing."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lorafold.adapters import save
from lorafold.common.errors import LorafoldError
from lorafold.runs.record_run import Recorded, record_run
from lorafold.runs.run import DEMO_SAID, Run
from tests.builders import random_adapter


@dataclass(frozen=True)
class Settings:
    strength: float = 1.0


@dataclass(frozen=True)
class Config(Settings):
    adapters: Any = ("a.safetensors",)
    base: str | None = None
    threads: int | None = None
    output: str | None = None
    resume: bool = False
    evaluator: str | None = None

    def settings(self):
        return Settings(self.strength)


def work(run, paths, settings):
    inputs = [{"path": str(path)} for path in paths]
    summary = {"strength": settings.strength, "threads": torch.get_num_threads(), "seconds": {"work": 1.0}}
    return SimpleNamespace(metrics=lambda: {"inputs": inputs, "summary": summary, "modules": []})


def check(settings, count):
    if settings.strength < 0:
        raise LorafoldError(f"strength={settings.strength}", remedy="Give more.")


COMMAND = Recorded("stand-in", work, check, one_line=lambda metrics: "a line", show=lambda metrics: print("a table"))
WARNED = replace(COMMAND, warning=lambda metrics: "careful")


@pytest.fixture
def here(tmp_path):
    (tmp_path / "run").mkdir()
    save(random_adapter("kohya", {"lora_unet_a": (4, 3)}, 2), tmp_path / "a.safetensors")
    return Run(tmp_path / "run", tmp_path, ["strength=2"])


def record(here, command=COMMAND, **config):
    return record_run(here, Config(**{"adapters": ["a.safetensors"], **config}), command)


@pytest.mark.parametrize(("command", "warnings"), [(COMMAND, []), (WARNED, ["careful"])])
@pytest.mark.parametrize(("alone", "said"), [(True, "a table"), (False, "strength=2: a line -> ")])
def test_what_is_said_and_what_is_logged(command, warnings, alone, said, here, caplog, capsys):
    """The log has the line in any case, and where to look."""
    caplog.set_level(logging.INFO)
    record(replace(here, alone=alone), command)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(said) and (alone or line.endswith(str(here.folder)))
    assert caplog.messages == [f"a line; wrote {here.folder}", *warnings]


def test_the_log_names_the_file_that_was_written(here, caplog):
    caplog.set_level(logging.INFO)
    written = {"output": {"path": "/out.safetensors"}}
    metrics = record(here, replace(COMMAND, write=lambda outcome: written))
    assert caplog.messages == ["a line; wrote /out.safetensors"]
    assert metrics["output"] == written["output"]


def test_settings_and_threads_reach_the_work_and_the_record(here):
    before = torch.get_num_threads()
    metrics = record(here, strength=2.0, threads=3)
    assert json.loads((here.folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert metrics["summary"] | {"seconds": 0} == {"strength": 2.0, "threads": 3, "seconds": 0}
    assert set(metrics["summary"]["seconds"]) == {"work", "total"}
    expected = {"adapters": [str(here.base / "a.safetensors")], "strength": 2.0, "threads": 3}
    assert metrics["config"] == {**expected, "base": None, "output": None, "evaluator": None}
    assert torch.get_num_threads() == before
    assert len(metrics["inputs"][0]["sha256"]) == 64


def test_the_base_model_is_recorded_as_seen_from_anywhere(here):
    assert record(here, base="model")["config"]["base"] == str(here.base / "model")


def test_a_mistake_leaves_nothing_and_no_work(here):
    with pytest.raises(LorafoldError, match=r"strength=-1"):
        record(here, replace(COMMAND, work=None), strength=-1.0)
    assert not list(here.folder.iterdir())


def test_the_same_run_is_not_repeated_if_nobody_asks_for_it(here, capsys):
    command = replace(COMMAND, write=lambda outcome: {"output": {"path": str(here.folder)}})
    first, idle = record(here, command), replace(command, work=None)
    capsys.readouterr()
    assert record(here, idle, resume=True) == json.loads(json.dumps(first))
    assert "finished already" in capsys.readouterr().out
    for change in ({"resume": False}, {"resume": True, "strength": 3.0}):
        with pytest.raises(TypeError):
            record(here, idle, **change)


def test_what_an_evaluator_says_is_in_the_record(here):
    (here.base / "judge_of_stand_ins.py").write_text("def judge(path):\n    return {'length': len(path)}\n")
    order = []
    command = replace(
        COMMAND,
        write=lambda outcome: order.append("write") or {"output": {"path": "/out"}},
        extras=lambda outcome: order.append((here.folder / "resolved.yaml").exists()) or {"page": "/page"},
    )
    metrics = record(here, command, evaluator="judge_of_stand_ins:judge")
    assert (metrics["evaluation"], metrics["page"], order) == ({"length": 4}, "/page", ["write", True])
    assert list(metrics["summary"]["seconds"]) == ["work", "write", "page", "evaluate", "total"]


@pytest.mark.parametrize(("command", "said"), [(COMMAND, True), (replace(COMMAND, paths=lambda *_: []), False)])
def test_the_shipped_pair_is_announced(command, said, here, capsys):
    assert record(here, command, adapters="demo")["config"]["adapters"] == "demo"
    assert (DEMO_SAID in capsys.readouterr().out) == said
