"""What the terminal says of a sweep, word for word."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from lorafold.commands.report.table import one_line, show
from tests.commands.report.sweep_samples import begin, grid, metrics, sweep_of


def shown(sweep, files=(), **options):
    console = Console(file=io.StringIO(), width=80, highlight=False, **options)
    show(sweep, files, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_runs_whose_worst_adapter_keeps_most_come_first(tmp_path):
    """kept = 1 - 1 / (1 + rank · weight), error = 1 / (1 + rank)."""
    runs = [metrics(4, (0.7, 0.3)), metrics(8, (0.5, 0.5), "phi"), metrics(4, (0.5, 0.5))]
    lines = shown(sweep_of(tmp_path, runs), [tmp_path / "report.html"])
    assert lines[0] == "3 finished"
    assert [line.split()[0] for line in lines[3:6]] == ["1", "2", "0"]
    assert [line.split()[-3] for line in lines[3:6]] == ["0.800", "0.667", "0.545"]
    assert [line.split()[-1] for line in lines[3:6]] == ["0.111", "0.200", "0.200"]
    assert lines[6:] == [str(tmp_path / "report.html")]


@pytest.mark.parametrize("count", [10, 11])
def test_ten_runs_are_shown(count, tmp_path):
    lines = shown(sweep_of(tmp_path, grid()[:count]))
    assert sum(line[:1].isdigit() for line in lines[2:]) == 10
    said = [line.strip() for line in lines if "whose worst adapter keeps most" in line]
    assert said == ["the 10 of 11 runs whose worst adapter keeps most"] * (count == 11)


def test_what_has_no_result_is_named_up_to_five(tmp_path):
    for number in range(7):
        (begin(tmp_path / f"bad{number}", "rank=0") / "error.txt").write_text("rank=0, expected more\n")
    sweep = sweep_of(tmp_path, [metrics()])
    lines = shown(sweep)
    assert lines[0] == one_line(sweep) == "1 finished, 7 failed"
    assert [line for line in lines if line.startswith("failed: ")] == [
        f"failed: bad{number}: rank=0, expected more" for number in range(5)
    ]
    assert lines[-1] == "... and 2 more without a result, see the page"
    assert one_line(replace(sweep, left_out=3)) == "1 finished, 7 failed, 3 of other commands left out"


def test_what_stands_out(tmp_path):
    for number in range(6):
        (begin(tmp_path / f"bad{number}", "rank=0") / "error.txt").write_text("rank=0, expected more\n")
    lines = shown(sweep_of(tmp_path, [metrics()]), force_terminal=True, color_system="standard")
    assert lines[0] == "\x1b[1m1 finished, 6 failed\x1b[0m"
    assert len([line for line in lines if line.startswith("\x1b[33m")]) == 6
