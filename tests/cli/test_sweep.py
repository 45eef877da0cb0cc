"""Sweeps as a user runs them: launchers, failures, kill -9 and what comes after, named sweeps, paths."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lorafold.adapters import load
from lorafold.common.options import CONF
from tests.cli.test_app import QUICK
from tests.command_lines import ROOT
from tests.command_lines import lorafold as run

SWEEP = ("merge", "-m", *QUICK, "page=false", "hydra.sweep.dir=sweep")


def records(sweep):
    """What `metrics.json` of every finished run says, by the name of its folder."""
    return {path.parent.name: json.loads(path.read_text()) for path in Path(sweep).glob("*/metrics.json")}


def left_behind(sweep):
    return [path for path in Path(sweep).rglob("*") if path.name.startswith(".lorafold-") or path.name == "error.txt"]


def numbers(record):
    """Of a run, without times."""
    kept = {key: value for key, value in record["summary"].items() if key not in ("seconds", "peak_rss_mb")}
    return {**kept, "modules": record["modules"]}


@pytest.fixture(scope="module")
def basic(tmp_path_factory):
    """A sweep of three runs, one after another; the second fails."""
    cwd = tmp_path_factory.mktemp("basic")
    return run(*SWEEP, "rank=2,0,3", cwd=cwd), cwd / "sweep"


def test_a_failure_stays_in_its_folder_and_ends_the_sweep_with_status_1(basic):
    process, sweep = basic
    assert process.returncode == 1
    assert set(records(sweep)) == {"0", "2"}
    assert (sweep / "1" / "error.txt").read_text().startswith("rank=0, expected")
    assert process.stderr.splitlines()[-1].startswith("lorafold: error: 1 of 3 runs failed in sweep: 1: rank=0")


LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", ["hydra.launcher.n_jobs=2"]),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", []),
    "ray": ("ray", ["hydra.launcher.cluster_cpus=2"]),
}
MEETING = """
import os
import time
from pathlib import Path


def meet(adapter):
    begin, folder = time.time(), Path(adapter).parent
    (folder / "here").touch()
    while len(list(folder.parent.glob("*/here"))) < 2 and time.time() < begin + 600:
        time.sleep(0.01)
    return {"process": os.getpid(), "begin": begin, "end": time.time()}
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_runs_two_at_once_finds_the_same_and_shares_the_cores(launcher, basic, tmp_path):
    """Each of the two runs waits for the other; what they find equals one after another to the last digit."""
    plugin, options = LAUNCHERS[launcher]
    pytest.importorskip(plugin)
    (tmp_path / "meeting.py").write_text(MEETING)
    arguments = [argument for argument in SWEEP if argument != "threads=1"] + ["evaluator=meeting:meet"]
    process = run(*arguments, "rank=2,0,3", f"hydra/launcher={launcher}", *options, cwd=tmp_path)
    assert process.returncode == 1, process.stderr
    assert "1 of 3 runs failed in sweep: 1: rank=0" in process.stderr
    found, expected = records(tmp_path / "sweep"), records(basic[1])
    assert found.keys() == expected.keys()
    one, other = (record["evaluation"] for record in found.values())
    assert one["process"] != other["process"]
    assert max(one["begin"], other["begin"]) < min(one["end"], other["end"])
    for name, record in found.items():
        assert numbers(record) == numbers(expected[name])
        assert record["config"]["threads"] == max(1, len(os.sched_getaffinity(0)) // 2 if launcher == "joblib" else 1)


def killed_after(finished, sweep, *arguments, cwd):
    """Start a sweep, and kill -9 it and its children once so many runs are finished."""
    command = (sys.executable, "-m", "lorafold", *arguments)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=cwd, env=environ, start_new_session=True, stdout=subprocess.DEVNULL)
    while len(records(sweep)) < finished and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_after_kill_9_every_run_is_finished_exactly_once(tmp_path):
    sweep, arguments = tmp_path / "sweep", (*SWEEP, "rank=2,3,4,5", "resume=true")
    killed_after(2, sweep, *arguments, cwd=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in sweep.rglob("*/metrics.json")}
    assert 2 <= len(before) < 4
    (sweep / "3" / ".lorafold-half").mkdir(parents=True)  # as a kill in the middle of writing leaves it
    process = run(*arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert [record["config"]["rank"] for _, record in sorted(records(sweep).items())] == [2, 3, 4, 5]
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert process.stdout.count("finished already") == len(before)
    assert process.stdout.count("converged") == 4 - len(before)
    assert all(len(load(sweep / name / "merged").modules) == 36 for name in "0123")
    assert left_behind(sweep) == []


def test_a_resumed_sweep_repeats_failures_and_other_settings(basic, tmp_path):
    shutil.copytree(basic[1], tmp_path / "sweep")
    process = run(*SWEEP, "rank=2,4,5", "resume=true", cwd=tmp_path)  # where 2, 0 and 3 were asked for
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[0].endswith("finished already -> sweep/0")
    assert [record["config"]["rank"] for _, record in sorted(records(tmp_path / "sweep").items())] == [2, 4, 5]
    assert left_behind(tmp_path / "sweep") == []


def test_a_named_sweep_needs_no_flag_and_can_be_changed(tmp_path):
    process = run("merge", "sweep=rank_curve", *QUICK, "rank=2,3", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    found = records(tmp_path / "sweep")
    assert [found[name]["config"]["rank"] for name in "01"] == [2, 3]
    assert not found["0"]["config"]["page"]


@pytest.mark.parametrize("path", sorted((CONF / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_named_sweeps_sweep_what_can_be_swept(path):
    content = yaml.safe_load(path.read_text())
    assert content["hydra"]["mode"] == "MULTIRUN"
    (values,) = content["hydra"]["sweeper"]["params"].values()
    assert "," in str(values) or values == "glob(*)"


@pytest.mark.slow
def test_a_path_and_its_repetition(tmp_path):
    process = run("merge", *QUICK, "rank=3", "path=3", "hydra.run.dir=way", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert sorted(records(tmp_path / "way")) == ["t0.000", "t0.500", "t1.000"]
    moved = (tmp_path / "way").rename(tmp_path / "it's (moved)")
    shutil.rmtree(moved / "t0.500" / "merged")
    (moved / "t0.000" / "merged").rename(moved / "t0.500" / "merged")
    process = run("reproduce", "it's (moved)/t0.500", cwd=tmp_path)
    assert process.returncode == 1, process.stderr
    assert "DIFFERENT: more than the tolerance of 0.001" in process.stdout
