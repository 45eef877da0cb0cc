"""The folder of a run before it, and after a refusal."""

from __future__ import annotations

import logging

import pytest

from lorafold.common.errors import LorafoldError
from lorafold.runs.run_folder import open_run, open_sweep, withdraw_run


@pytest.mark.parametrize("record", ["metrics.json", "inspect.json", "path.csv", "t0.500/metrics.json"])
def test_an_earlier_run_is_kept_until_somebody_says_otherwise(tmp_path, record):
    folder = tmp_path / "run"
    (folder / record).parent.mkdir(parents=True)
    (folder / record).touch()
    with pytest.raises(LorafoldError, match=r"Write overwrite=true, or choose another hydra.run.dir"):
        open_run(folder, {"overwrite": False})
    with pytest.raises(LorafoldError, match=r"\. Choose another hydra.run.dir"):
        open_run(folder, {})
    open_run(folder, {"overwrite": True})
    open_run(folder, {"overwrite": False, "resume": True})


def test_an_earlier_sweep_too_and_not_one_whose_runs_failed(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "error.txt").touch()
    task = {"overwrite": False, "resume": False, "output": None}
    open_sweep(tmp_path, task)
    (tmp_path / "rank=4" / "seed=1").mkdir(parents=True)
    (tmp_path / "rank=4" / "seed=1" / "metrics.json").touch()
    with pytest.raises(LorafoldError, match=r"seed=1.metrics.json.*overwrite=true, resume=true, or .* hydra.sweep.dir"):
        open_sweep(tmp_path, task)
    open_sweep(tmp_path, {**task, "resume": True})
    open_sweep(tmp_path, {**task, "overwrite": True})


def test_runs_of_a_sweep_write_no_common_output(tmp_path):
    with pytest.raises(LorafoldError, match=r"output='x.safetensors' in a sweep"):
        open_sweep(tmp_path, {"output": "x.safetensors", "overwrite": True})
    open_sweep(tmp_path, {"output": "x_${rank}.safetensors"})


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_place_where_no_folder_can_be(tmp_path, place):
    (tmp_path / "file").touch()
    for opened, key in ((open_run, "hydra.run.dir"), (open_sweep, "hydra.sweep.dir")):
        with pytest.raises(LorafoldError, match=rf"cannot be made or written to .*{key}=FOLDER"):
            opened(tmp_path / place, {})


def test_a_refused_run_leaves_nothing_not_even_the_folders_around(tmp_path):
    folder = tmp_path / "outputs" / "merge" / "now"
    open_run(folder, {})
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").touch()
    handler = logging.FileHandler(folder / "merge.log")
    logging.root.addHandler(handler)
    withdraw_run(folder)
    assert list(tmp_path.iterdir()) == []
    assert handler not in logging.root.handlers and handler.stream is None


def test_what_is_not_its_own_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    open_run(tmp_path / "mine", {})
    withdraw_run(tmp_path / "mine")
    open_run(tmp_path / "day" / "one", {})
    (tmp_path / "day" / "two").mkdir()  # of another process, meanwhile
    withdraw_run(tmp_path / "day" / "one")
    open_run(tmp_path / "day" / "three", {})
    (tmp_path / "day" / "three" / "merged").mkdir()
    withdraw_run(tmp_path / "day" / "three")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        *("day", "day/three", "day/three/merged", "day/two", "mine"),
    ]
