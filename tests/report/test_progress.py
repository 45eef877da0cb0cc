"""The progress bar: there for people, absent for pipes."""

from __future__ import annotations

import logging

import pytest

from lorafold.report import progress
from lorafold.report.progress import StderrHandler, progress_bar


def test_no_bar_where_no_one_watches(capsys):
    with progress_bar() as report:
        assert report is None
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def terminal(monkeypatch):
    console = progress.Console
    monkeypatch.setattr(progress, "Console", lambda **kwargs: console(**kwargs, force_terminal=True, width=80))


def test_a_bar_on_a_terminal(terminal, capsys):
    with progress_bar() as report:
        report("gram", 3, 3)
        report("lift", 2, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "merging" in err and "2/3" in err


def test_no_bar_on_a_terminal_that_does_not_want_one(terminal, capsys):
    with progress_bar(wanted=False) as report:
        assert report is None
    assert capsys.readouterr().err == ""


def test_warnings_go_to_the_standard_error_of_the_moment(capsys):
    handler = StderrHandler()
    handler.emit(logging.makeLogRecord({"msg": "careful with %s", "args": ("this",), "levelname": "WARNING"}))
    assert capsys.readouterr().err == "lorafold: warning: careful with this\n"
