"""Sweeps read back from folders: finished, failed, unfinished and missing runs."""

from __future__ import annotations

import json
import math

import pytest

from lorafold.commands.report.sweep import read_sweep
from lorafold.commands.report.sweep.sweep import choose
from lorafold.commands.report.table import one_line
from lorafold.common.errors import LorafoldError
from tests.commands.report.sweep_samples import begin, grid, leave, metrics, multirun, sweep_of


def statuses(sweep):
    return [(problem.status, problem.folder.name, problem.asked, problem.reason) for problem in sweep.problems]


def test_numbers_of_a_run(tmp_path):
    content = metrics(rank=4, weights=(0.7, 0.3), evaluation={"accuracy": 0.5, "name": "x"})
    (run,) = sweep_of(tmp_path, [content]).runs
    assert run.parameters == 3 * 4 * (24 + 20)
    assert run.numbers.kept == tuple(content["summary"]["retained"])
    assert run.numbers.worst_kept == min(run.numbers.kept) and run.numbers.mean_kept == sum(run.numbers.kept) / 2
    assert math.isclose(run.numbers.mean_phi, (0.7 + 0.3 + 0.7 + 0.2) / 4)
    assert (run.rank, run.seconds, run.converged, run.modules) == (4, 1.5, 3, 3)
    assert run.evaluation == {"accuracy": 0.5}
    assert run.inputs == ("ink", "clay")


def test_blocks_are_means_over_their_modules(tmp_path):
    content = metrics()
    content["modules"][0]["retained"] = [0.2, None]
    content["modules"][1]["retained"] = [0.4, 0.8]
    (run,) = sweep_of(tmp_path, [content]).runs
    assert [(block.label, block.modules) for block in run.blocks] == [("layer 0", 2), ("layer 1", 1)]
    assert run.blocks[0].numbers.kept == pytest.approx((0.3, 0.8))


def test_rank_max_is_the_mean_over_the_modules(tmp_path):
    content = metrics(rank=8)
    content["config"]["rank"] = "max"
    assert sweep_of(tmp_path, [content]).runs[0].rank == 8


def test_runs_in_natural_order_with_names_from_the_folder_of_all(tmp_path):
    for name in ("b/10", "b/9", "a/0"):
        leave(tmp_path / name, metrics())
    sweep = read_sweep([tmp_path / "b", tmp_path / "a", tmp_path / "a" / "0" / "metrics.json"])
    assert sweep.names == ["a/0", "b/9", "b/10"]
    assert sweep.folder == tmp_path


def test_what_became_of_runs_without_a_result(tmp_path):
    leave(begin(tmp_path / "0", "rank=4"), metrics())
    failed = begin(tmp_path / "1", "rank=0")
    (failed / "error.txt").write_text("Traceback (most recent call last):\n  File ...\nMemoryError: too large\n\n")
    logged = begin(tmp_path / "2", "rank=-1")
    stamp = "[2026-11-22 13:17:42,130][lorafold.cli.app]"
    (logged / "merge.log").write_text(f"{stamp}[INFO] - read\n{stamp}[ERROR] - rank=-1, expected more\n")
    begin(tmp_path / "3", "rank=5")
    leave(begin(tmp_path / "4", "rank=6"), '{"command": ')
    assert statuses(read_sweep([tmp_path])) == [
        ("failed", "4", "rank=6", "metrics.json cannot be read: Expecting value: line 1 column 13 (char 12)"),
        ("failed", "1", "rank=0", "MemoryError: too large"),
        ("failed", "2", "rank=-1", "rank=-1, expected more"),
        ("unfinished", "3", "rank=5", ""),
    ]


def test_what_leaves_no_metrics_is_not_missed(tmp_path):
    leave(tmp_path / "0", metrics())
    begin(tmp_path / "report", command="report")
    path = begin(tmp_path / "path", "path=2")
    (path / "path.csv").write_text("t\n0\n")
    leave(path / "t0.000", metrics())
    sweep = read_sweep([tmp_path])
    assert (sweep.names, sweep.problems) == (["0", "path/t0.000"], ())


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        (["rank=4,8", "weights=[1,0],[0.5,0.5]"], ["rank=8 weights=[1,0]", "rank=8 weights=[0.5,0.5]"]),
        (["rank=4,8", 'adapters=["a,b",c]'], []),
        (["rank=4"], []),
        (["rank=range(1,9)"], []),  # not counted, rather than counted wrongly
    ],
    ids=["lists", "enough", "no sweep", "a function"],
)
def test_jobs_that_never_began(tmp_path, asked, missing):
    multirun(tmp_path, *asked)
    for number in range(2):
        leave(begin(tmp_path / str(number), number=number), metrics())
    assert [problem.asked for problem in read_sweep([tmp_path]).problems] == missing


def test_jobs_of_a_named_sweep(tmp_path):
    multirun(tmp_path, "rank=4,8,16", params={"rank": "2,4", "objective": "phi,chordal"})
    leave(begin(tmp_path / "4", number=4), metrics())
    asked = [problem.asked for problem in read_sweep([tmp_path]).problems]
    assert asked == [f"rank={r} objective={o}" for r in (4, 8, 16) for o in ("phi", "chordal") if (r, o) != (16, "phi")]


def test_another_sweeper_chooses_as_it_goes(tmp_path):
    multirun(tmp_path, "rank=4,8", sweeper="OptunaSweeper")
    leave(begin(tmp_path / "0"), metrics())
    assert read_sweep([tmp_path]).problems == ()


def test_merges_alone_are_in_it_and_the_rest_is_counted(tmp_path):
    leave(begin(tmp_path / "merge"), metrics())
    leave(begin(tmp_path / "compare", command="compare"), {"command": "compare"})
    begin(tmp_path / "inspect", command="inspect")
    begin(tmp_path / "report", command="report")
    again = leave(begin(tmp_path / "reproduce", command="reproduce"), {"command": "reproduce"}) / "again"
    leave(again, metrics())
    sweep = read_sweep([tmp_path])
    assert [run.folder.name for run in sweep.runs] == ["merge"]
    assert (sweep.problems, sweep.left_out) == ((), 4)
    assert one_line(sweep) == "1 finished, 4 of other commands left out"
    with pytest.raises(LorafoldError, match=r"no merge below .*: but 1 folders of other commands"):
        read_sweep([tmp_path / "compare"])


@pytest.mark.parametrize(
    ("name", "words"),
    [("nope", "no such folder"), ("file", "not a folder"), ("empty", "no merge below")],
)
def test_mistakes(tmp_path, name, words):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(LorafoldError, match=words):
        read_sweep([tmp_path / name])


def test_the_run_to_begin_with(tmp_path):
    sweep = sweep_of(tmp_path, grid())
    worst = [run.numbers.worst_kept for run in sweep.runs]
    assert worst[choose(sweep, None)] == max(worst)
    assert choose(sweep, "3") == choose(sweep, str(tmp_path / "3")) == 3
    with pytest.raises(LorafoldError, match=r"chosen='33' is no finished run.*Did you mean"):
        choose(sweep, "33")


def test_the_command_that_repeats_a_run(tmp_path):
    exact = leave(tmp_path / "it's one", metrics())
    asked = leave(tmp_path / "2", metrics(), resolved=False)
    by_name = {run.folder: run.repeat for run in read_sweep([tmp_path]).runs}
    quoted = str(exact).replace("'", "'\"'\"'")
    assert by_name[exact] == f"python -m lorafold merge -cd '{quoted}' -cn resolved"
    assert by_name[asked] == "python -m lorafold merge rank=4 objective=chordal"


@pytest.mark.parametrize(
    "change",
    [
        {"command": "merge; rm -rf ~"},
        {"command": None},
        {"environment": {"overrides": ["rank=4\u202e"]}},
        {"environment": {"overrides": ["rank=\x1b[201~"]}},
        {"environment": {}},
    ],
)
def test_no_command_rather_than_a_dangerous_one(tmp_path, change):
    leave(tmp_path / "0", {**metrics(), **change}, resolved=False)
    assert read_sweep([tmp_path]).runs[0].repeat is None


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '{"config": ' + "[" * 50 + "]" * 50 + "}",
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        "\x00",
    ],
    ids=["list", "null", "deep", "too deep for JSON", "too long for a number", "not JSON"],
)
def test_a_file_that_is_no_record_is_a_failed_run(tmp_path, text):
    leave(tmp_path / "0", text)
    assert [problem.status for problem in read_sweep([tmp_path]).problems] == ["failed"]


JUNK = (None, 1, "x", [], {}, [[]], [None, "x", {"a": 1}], True, float("nan"), 10**200)


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: f"{junk!s:.12}")
def test_any_value_may_be_junk(tmp_path, junk):
    content = metrics()
    for key in content:
        leave(tmp_path / key, {**content, key: junk})
    for key in content["summary"]:
        leave(tmp_path / f"summary-{key}", {**content, "summary": {**content["summary"], key: junk}})
    for key in content["modules"][0]:
        leave(tmp_path / f"module-{key}", {**content, "modules": [{**content["modules"][0], key: junk}, junk]})
    sweep = read_sweep([tmp_path])
    assert len(sweep.runs) == len(list(tmp_path.iterdir()))
    assert all(json.dumps(run.numbers.kept, allow_nan=False) for run in sweep.runs)
