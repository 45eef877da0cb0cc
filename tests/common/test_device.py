"""Which GPU a run of a sweep takes; on machines without one, torch is told of some."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from lorafold.cli import app
from lorafold.common.device import gpu_in_turn


@pytest.fixture
def taken(monkeypatch):
    """The numbers of the GPUs that are chosen, of three."""
    numbers = []

    @contextmanager
    def chosen(number):
        numbers.append(number)
        yield

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "device", chosen)
    return numbers


def test_runs_take_turns(taken):
    for number in range(5):
        with gpu_in_turn(number):
            pass
    assert taken == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("count", [0, 1])
def test_where_there_are_not_several_nothing_is_chosen(taken, monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with gpu_in_turn(1):
        assert taken == []


@pytest.mark.parametrize(("mode", "expected"), [("MULTIRUN", [1]), ("RUN", [])])
def test_the_number_is_that_of_the_run_in_its_sweep(taken, monkeypatch, tmp_path, mode, expected):
    where = [f"hydra.runtime.output_dir={tmp_path}", f"hydra.runtime.cwd={tmp_path}", "hydra.job.num=4"]
    with initialize_config_module("hydra.conf", version_base="1.3"):
        config = compose(overrides=[f"hydra.mode={mode}", *where], return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
    with app._run_of_a_task():
        assert taken == expected
