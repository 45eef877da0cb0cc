"""A sweep as it stands: what is finished, and what is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lorafold.commands.report.sweep.differing import differing
from lorafold.commands.report.sweep.finished_run import SweepRun, read_run
from lorafold.commands.report.sweep.folders import METRICS, Folders, find
from lorafold.commands.report.sweep.unfinished import asked_for, command_of, error_left, not_begun
from lorafold.commands.report.sweep.untrusted import Unreadable
from lorafold.common.errors import LorafoldError, suggest

STATUSES = FAILED, UNFINISHED, NOT_BEGUN = "failed", "unfinished", "not begun"
_NO_MERGES = ("compare", "align", "inspect", "resize", "convert", "reproduce", "report")
_LISTED = 8  # names in a message


@dataclass(frozen=True)
class Problem:
    """A job without a result.

    Args:
        status: "failed", "unfinished" (under way, or killed), or "not begun".
        folder: of the job, or of the sweep that it belongs to.
        asked: its settings on the command line.
        reason: the error that it left, if any.
    """

    status: str
    folder: Path
    asked: str
    reason: str = ""


@dataclass(frozen=True)
class Sweep:
    """All merges below some folders, in natural order of their paths.

    Args:
        runs: that are finished.
        problems: those without a result.
        left_out: how many folders other commands have left, earlier reports not counted.
    """

    runs: tuple[SweepRun, ...]
    problems: tuple[Problem, ...] = ()
    left_out: int = 0

    @cached_property
    def differing(self) -> list[str]:
        """The settings in which the runs differ."""
        return differing([run.settings for run in self.runs])

    @cached_property
    def names(self) -> list[str]:
        """A short name for each run: its folder as seen from the folder of all."""
        return self.named([run.folder for run in self.runs])

    @cached_property
    def folder(self) -> Path:
        """The deepest one that holds the folders of all runs and problems."""
        folders = [run.folder for run in self.runs] + [problem.folder for problem in self.problems]
        return Path(os.path.commonpath([folder.parent for folder in folders]))

    def named(self, folders: Sequence[Path]) -> list[str]:
        """Folders as seen from the folder of all."""
        return [str(folder.relative_to(self.folder)) for folder in folders]

    def count(self, status: str) -> int:
        """How many problems of a kind there are."""
        return sum(problem.status == status for problem in self.problems)


def read_sweep(roots: Sequence[Path]) -> Sweep:
    """Read every `metrics.json` of a merge below the folders, and what is left of the merges that have none.

    Args:
        roots: folders, or `metrics.json` files themselves.

    Raises:
        LorafoldError: a path that does not exist, or folders without a single merge.
    """
    folders = find([_folder(root) for root in roots])
    finished, broken = _read(folders)
    runs = _merges(finished)
    begun = [(folder, command_of(folder)) for folder in folders.begun]
    problems = broken + [_unfinished(folder) for folder, command in begun if command not in _NO_MERGES]
    problems += [Problem(NOT_BEGUN, sweep, asked) for sweep in folders.sweeps for asked in not_begun(sweep)]
    left_out = len(finished) - len(runs) + sum(command in _NO_MERGES[:-1] for _, command in begun)
    if not runs and not problems:
        rest = f"but {left_out} folders of other commands" if left_out else f"no folder there has a {METRICS}"
        raise LorafoldError(
            f"no merge below {', '.join(str(root) for root in roots)}: {rest}",
            remedy="Name the folder of a sweep, such as outputs/merge/multirun/DATE/TIME.",
        )
    return Sweep(tuple(runs), tuple(problems), left_out)


def _merges(runs: Sequence[SweepRun]) -> list[SweepRun]:
    """Without what other commands left, and without the merges inside, which are repetitions of others."""
    left_out = {run.folder for run in runs if run.command in _NO_MERGES}
    return [run for run in runs if not {run.folder, run.folder.parent} & left_out]


def _folder(root: Path) -> Path:
    if root.name == METRICS and root.is_file():
        return root.parent
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise LorafoldError(problem, path=root, remedy="Name the folder that a run or a sweep has left.")
    return root


def _read(folders: Folders) -> tuple[list[SweepRun], list[Problem]]:
    runs, problems = [], []
    for folder in folders.finished:
        try:
            runs.append(read_run(folder))
        except Unreadable as error:
            problems.append(Problem(FAILED, folder, asked_for(folder), str(error)))
    return runs, problems


def _unfinished(folder: Path) -> Problem:
    reason = error_left(folder)
    return Problem(FAILED if reason else UNFINISHED, folder, asked_for(folder), reason or "")


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
