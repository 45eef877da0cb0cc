"""The runs of a sweep as a table: one row per run, finished or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorafold.commands.report.sweep import Sweep, SweepRun, words
from lorafold.commands.report.sweep.finished_run import SIDES
from lorafold.runs.csv_table import write_csv

Row = dict[str, Any]


def write_runs(path: Path, sweep: Sweep) -> None:
    """Write the table; adapters count from 1."""
    rows = [*_runs(sweep), *_problems(sweep)]
    header = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(path, header, ([row.get(key) for key in header] for row in rows))


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
