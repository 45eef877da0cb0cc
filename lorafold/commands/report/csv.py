"""The runs of a sweep as a table for spreadsheets and data frames: one row per run, finished or not."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorafold.adapters.files.atomic import staged
from lorafold.commands.report.sweep import Sweep, SweepRun, words
from lorafold.commands.report.sweep.finished_run import SIDES

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for the beginning of a formula

Row = dict[str, Any]


def write_csv(path: Path, sweep: Sweep) -> None:
    """Write the table in one step; an empty cell is undefined, adapters count from 1.

    Text comes from strangers' files: a cell that a spreadsheet could run as a formula begins with an apostrophe.
    """
    rows = [*_runs(sweep), *_problems(sweep)]
    header = list(dict.fromkeys(key for row in rows for key in row))
    with staged(path) as scratch, scratch.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow([_cell(key) for key in header])
        writer.writerows([_cell(row.get(key)) for key in header] for row in rows)


def _runs(sweep: Sweep) -> Iterator[Row]:
    for name, run in zip(sweep.names, sweep.runs, strict=True):
        settings = {key: words(key, run.settings[key]) if key in run.settings else None for key in sweep.differing}
        yield {"run": name, "status": "finished", **settings, **_numbers(run), "command": run.repeat, **_where(run)}


def _numbers(run: SweepRun) -> Row:
    numbers = run.numbers
    sides = {f"phi_{side}_{i}": phi for side in SIDES for i, phi in enumerate(numbers.phi_of(side), 1)}
    return {
        "parameters": run.parameters,
        **{f"kept_{i}": share for i, share in enumerate(numbers.kept, 1)},
        "kept_worst": numbers.worst_kept,
        **sides,
        "phi_mean": numbers.mean_phi,
        "reconstruction_error": numbers.error,
        **run.evaluation,
        "converged": run.converged,
        "modules": run.modules,
        "seconds": run.seconds,
    }


def _where(run: SweepRun) -> Row:
    return {"lorafold": run.version, "folder": str(run.folder), "error": None}


def _problems(sweep: Sweep) -> Iterator[Row]:
    names = sweep.named([problem.folder for problem in sweep.problems])
    for name, problem in zip(names, sweep.problems, strict=True):
        row = {"run": name, "status": problem.status, "folder": str(problem.folder), "error": problem.reason or None}
        yield {**row, "asked": problem.asked}


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
