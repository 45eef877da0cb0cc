"""The folders of a sweep: which runs count as finished, what failed and killed ones leave, who gets which threads."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import pytest

from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.folders import clear, failures, finished, leave_error, summary_of_failures, threads_per_worker

CONFIG = {
    "adapters": ["/a"],
    "rank": 4,
    "seed": 0,
    "weights": [0.7, 0.3],
    "solver": {"tol": 1e-5},
    "page": True,
    "threads": 2,
}
HASHES = ["1" * 64, "2" * 64]


@pytest.fixture
def folder(tmp_path):
    """Of a run that is finished."""
    (tmp_path / "merged").mkdir()
    record = {
        "config": CONFIG,
        "inputs": [{"sha256": sha256} for sha256 in HASHES],
        "output": {"path": str(tmp_path / "merged")},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    return tmp_path


def test_a_finished_run_is_recognised(folder):
    assert finished(folder, CONFIG, HASHES) == json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("change", [{"page": False}, {"threads": 8}], ids=str)
def test_what_changes_no_result_makes_no_other_run(folder, change):
    assert finished(folder, {**CONFIG, **change}, HASHES)


@pytest.mark.parametrize(
    "change", [{"rank": 8}, {"seed": 1}, {"weights": [0.3, 0.7]}, {"solver": {"tol": 1e-6}}], ids=str
)
def test_other_settings_are_another_run(folder, change):
    assert finished(folder, {**CONFIG, **change}, HASHES) is None


def test_other_inputs_under_the_same_name_are_another_run(folder):
    assert finished(folder, CONFIG, HASHES[::-1]) is None


def test_without_its_adapter_a_run_is_not_finished(folder):
    (folder / "merged").rmdir()
    assert finished(folder, CONFIG, HASHES) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"config": {}}'])
def test_an_unreadable_record_is_none(folder, text):
    (folder / "metrics.json").write_text(text)
    assert finished(folder, CONFIG, HASHES) is None


def test_no_record_is_none(tmp_path):
    assert finished(tmp_path / "nowhere", CONFIG, HASHES) is None


def test_clearing_leaves_the_adapter_and_removes_what_a_killed_run_left(folder):
    (folder / "error.txt").write_text("no")
    (folder / ".lorafold-0123").mkdir()
    (folder / ".lorafold-0123" / "new").write_text("half an adapt")
    clear(folder)
    assert [path.name for path in folder.iterdir()] == ["merged"]


def test_a_mistake_is_left_in_one_line_and_a_defect_with_its_traceback(folder):
    leave_error(folder, LorafoldError("rank=0", remedy="Raise it."))
    assert (folder / "error.txt").read_text() == "rank=0. Raise it.\n"
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        leave_error(folder, error)
    lines = (folder / "error.txt").read_text().splitlines()
    assert lines[0].startswith("Traceback") and lines[-1] == "ZeroDivisionError: by zero"
    assert not (folder / "metrics.json").exists()  # of an earlier run


def test_failures_are_counted_and_the_first_named(tmp_path):
    assert summary_of_failures(tmp_path) == ""
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "metrics.json").write_text("{}")
    for number in (10, 2, 3, 9):
        leave_error(tmp_path / str(number), LorafoldError(f"bad {number}"))
    assert [folder.name for folder in failures(tmp_path)] == ["2", "3", "9", "10"]
    assert summary_of_failures(tmp_path) == f"4 of 12 runs failed in {tmp_path}: 2: bad 2; 3: bad 3; 9: bad 9; ..."


@pytest.mark.parametrize(
    ("launcher", "cores", "threads"),
    [
        ({"_target_": "basic"}, 8, None),
        ({"n_jobs": 4}, 8, 2),
        ({"n_jobs": 3}, 8, 2),
        ({"n_jobs": 16}, 8, 1),
        ({"n_jobs": -1}, 8, 1),
        ({"num_cpus": 3}, 8, 3),
        ({"cpus_per_task": 4}, 8, 4),
        ({"cpus_per_task": None}, 8, 1),
    ],
    ids=str,
)
def test_runs_at_the_same_time_share_the_cores(launcher, cores, threads):
    assert threads_per_worker(launcher, cores) == threads


def test_the_cores_are_those_of_this_process(monkeypatch):
    """Of which a cluster or a container may grant fewer than the machine has."""
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert threads_per_worker({"n_jobs": 1}) == 3
    monkeypatch.delattr("os.sched_getaffinity")
    assert threads_per_worker({"n_jobs": 1}) == 64


@pytest.mark.parametrize("name", [field.name for field in fields(MergeSettings)])
def test_every_setting_of_a_merge_makes_another_run(folder, name):
    asked = {**CONFIG, **asdict(MergeSettings())}
    record = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**record, "config": asked}))
    assert finished(folder, asked, HASHES)
    assert finished(folder, {**asked, name: "something else"}, HASHES) is None
