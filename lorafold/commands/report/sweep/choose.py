"""The run that a report begins with."""

from __future__ import annotations

from collections.abc import Sequence

from lorafold.commands.report.sweep.finished_run import SweepRun
from lorafold.commands.report.sweep.sweep import Sweep
from lorafold.common.errors import LorafoldError, suggest

_LISTED = 8


def choose(sweep: Sweep, name: str | None) -> int | None:
    """The number of a run.

    Args:
        sweep: of the run.
        name: as the table has it, or the path of its folder; None: the run whose worst adapter keeps most.

    Returns:
        None where there is no finished run.

    Raises:
        LorafoldError: no such run.
    """
    if name is None:
        return max(range(len(sweep.runs)), key=lambda number: _worth(sweep.runs[number]), default=None)
    for number, run in enumerate(sweep.runs):
        if name in (sweep.names[number], str(run.folder)):
            return number
    remedy = f"{_listing(sweep.names)}{suggest(name, sweep.names)}"
    raise LorafoldError(f"chosen={name!r} is no finished run", remedy=remedy)


def _worth(run: SweepRun) -> float:
    worst = run.numbers.worst_kept
    return -1.0 if worst is None else worst


def _listing(names: Sequence[str]) -> str:
    if not names:
        return "There is none yet."
    end = "." if len(names) <= _LISTED else f", and {len(names) - _LISTED} more."
    return f"Choose one of {', '.join(names[:_LISTED])}{end}"
