"""The progress bar: there for people; for pipes, a line now and then of what takes long."""

from __future__ import annotations

import logging
import re

import pytest
import rich.console
import rich.progress

import lorafold
from lorafold.common import progress
from lorafold.common.progress import Stage, progress_bar, progress_lines
from lorafold.console.lines import StderrHandler
from tests.builders import DEMO, random_adapter
from tests.builders import one_thread as one_thread
from tests.screens import screen

STAGES = (Stage.MERGE, Stage.LIFT)  # of a merge in which no adapter vanishes


def test_no_bar_where_no_one_watches(capsys, monkeypatch):
    with progress_bar() as report:
        report(Stage.MERGE, 1, 2)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "_QUIET", 0.0)
    with progress_bar() as report:
        report(Stage.MERGE, 1, 2)
    assert capsys.readouterr() == ("", "merging 1/2 after 0 s\n")
    with progress_bar(wanted=False) as report:
        assert report is None


def test_a_long_run_tells_a_line_now_and_then_and_a_short_one_none():
    times, lines = iter([100.0, 101.0, 109.9, 110.0, 114.9, 115.0, 300.0]), []
    tell = progress_lines(lines.append, lambda: next(times))
    for count in range(6):
        tell(Stage.MERGE, count, 560)
    assert lines == ["merging 2/560 after 10 s", "merging 4/560 after 15 s", "merging 5/560 after 200 s"]


@pytest.fixture
def terminal(monkeypatch):
    """Standard error passes for a terminal of 80 columns, and every frame is drawn."""
    console = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **kwargs: console(**kwargs, force_terminal=True, width=80))
    update = rich.progress.Progress.update
    refreshed = lambda *task, **changes: update(*task, **changes, refresh=True)  # noqa: E731
    monkeypatch.setattr(rich.progress.Progress, "update", refreshed)


def buckets():
    """Two adapters whose layers go through the merge in several pieces."""
    shapes = {f"layer.{i}": (12 + 8 * (i % 3), 10) for i in range(9)}
    ranks = {name: 1 + 3 * (i % 3) for i, name in enumerate(shapes)}
    return [random_adapter("kohya", shapes, ranks, seed=seed) for seed in (1, 2)]


@pytest.mark.parametrize(("adapters", "total"), [(lambda: DEMO, 36), (buckets, 9)], ids=["demo", "buckets"])
def test_the_bar_follows_a_merge(terminal, capsys, adapters, total):
    with progress_bar() as report:
        lorafold.merge(adapters(), rank=2, solver="alternating", progress=report)
    out, err = capsys.readouterr()
    assert out == ""
    frames = re.findall(r"(reading|merging|building) .*?(\d+)/ *(\d+|\?)", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", err))
    seen = list(dict.fromkeys((word, int(count), of) for word, count, of in frames))
    assert seen[0] == ("reading", 0, "?")
    for stage in STAGES:
        counts = [count for word, count, of in seen if (word, of) == (stage, str(total))]
        assert counts[0] == 0 and counts[-1] == total and counts == sorted(counts)
        assert adapters is not buckets or len(counts) > 2
    assert [*dict.fromkeys(word for word, *_ in seen)] == ["reading", *STAGES]
    assert screen(err) == ([], False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_end_in_the_middle_leaves_nothing(terminal, capsys, error):
    with pytest.raises(error), progress_bar() as report:
        report(Stage.MERGE, 3, 7)
        raise error
    err = capsys.readouterr().err
    assert "3/7" in err and screen(err) == ([], False)


def test_a_warning_stands_above_the_bar(terminal, capsys):
    handler = StderrHandler()
    with progress_bar() as report:
        report(Stage.MERGE, 3, 7)
        handler.emit(logging.makeLogRecord({"msg": "careful with %s", "args": ("[this]",), "levelname": "WARNING"}))
        meanwhile = screen(capsys.readouterr().err).lines
        report(Stage.MERGE, 4, 7)
        handler.emit(logging.makeLogRecord({"msg": "and that", "levelname": "WARNING"}))
    assert meanwhile[0] == "lorafold: warning: careful with [this]" and "3/7" in meanwhile[1]
    written = capsys.readouterr().err
    assert screen(written).lines[-1] == "lorafold: warning: and that" and "━" not in "".join(screen(written).lines)


def test_no_bar_on_a_terminal_that_does_not_want_one(terminal, capsys):
    with progress_bar(wanted=False) as report:
        assert report is None
    assert capsys.readouterr().err == ""


def test_warnings_go_to_the_standard_error_of_the_moment(capsys):
    handler = StderrHandler()
    handler.emit(logging.makeLogRecord({"msg": "careful with %s", "args": ("this",), "levelname": "WARNING"}))
    assert capsys.readouterr().err == "lorafold: warning: careful with this\n"


def test_a_merge_draws_a_bar_of_its_own(terminal, capsys):
    lorafold.merge(DEMO, rank=2, solver="alternating", progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "merging" in err and "36/36" in err and screen(err) == ([], False)


@pytest.mark.parametrize("progress", [True, False, None])
def test_a_merge_is_silent_in_a_pipe(capsys, progress):
    lorafold.merge(DEMO, rank=2, solver="alternating", progress=progress)
    assert capsys.readouterr() == ("", "")
