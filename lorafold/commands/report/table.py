"""What the terminal says about a sweep: the best runs, what is missing, and where the page is. 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from lorafold.commands.report.sweep import Sweep, words
from lorafold.commands.report.sweep.sweep import STATUSES
from lorafold.console.tables import Console, amount, plain_table, printable, relative_to_cwd, say

_RUNS, _PROBLEMS, _SETTINGS = 10, 5, 3  # at most
_WIDTH = 80
_NAME = 20  # characters of a run's name


def show(sweep: Sweep, files: Sequence[Path], console: Console | None = None) -> None:
    """Print the runs whose worst adapter keeps most, what has no result, and what was written."""
    console = console or Console(highlight=False)
    say(console, one_line(sweep), "bold")
    if sweep.runs:
        console.print(_table(sweep))
    names = sweep.named([problem.folder for problem in sweep.problems])
    for problem, name in list(zip(sweep.problems, names, strict=True))[:_PROBLEMS]:
        line = f"{problem.status}: {name}: {problem.reason or problem.asked}"
        say(console, printable(line, 2 * _WIDTH), "yellow")
    if len(sweep.problems) > _PROBLEMS:
        console.print(f"... and {len(sweep.problems) - _PROBLEMS} more without a result, see the page", style="yellow")
    for path in files:
        say(console, relative_to_cwd(str(path)))


def one_line(sweep: Sweep) -> str:
    """How many runs there are, how many have no result, and what is left out."""
    counts = [*((sweep.count(status), status) for status in STATUSES), (sweep.left_out, "of other commands left out")]
    return ", ".join([f"{len(sweep.runs)} finished", *(f"{count} {status}" for count, status in counts if count)])


def _table(sweep: Sweep) -> Table:
    keys = sweep.differing[:_SETTINGS]
    table = plain_table("run", *map(escape, keys), "parameters", "kept", "phi", "error")
    order = sorted(range(len(sweep.runs)), key=lambda number: -(sweep.runs[number].numbers.worst_kept or 0))
    for number in order[:_RUNS]:
        run = sweep.runs[number]
        settings = (printable(_words(sweep, number, key), 18) for key in keys)
        size = "-" if run.parameters is None else amount(run.parameters)
        values = (run.numbers.worst_kept, run.numbers.mean_phi, run.numbers.error)
        table.add_row(escape(_end(sweep.names[number])), *map(escape, settings), size, *map(_number, values))
    if len(order) > _RUNS:
        table.caption = f"the {_RUNS} of {len(order)} runs whose worst adapter keeps most"
    return table


def _words(sweep: Sweep, number: int, key: str) -> str:
    settings = sweep.runs[number].settings
    return words(key, settings[key]) if key in settings else "-"


def _end(name: str) -> str:
    """The end of a path tells more than its beginning."""
    return printable(name if len(name) <= _NAME else f"...{name[3 - _NAME :]}", _NAME)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
