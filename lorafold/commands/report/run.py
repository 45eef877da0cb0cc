"""One run of `lorafold report`: what it leaves, and what it tells."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from lorafold.commands.report.config import ReportConfig
from lorafold.commands.report.csv import write_runs
from lorafold.commands.report.page import NO_CHARTS, charts_available, draw, write_figures, write_page
from lorafold.commands.report.sweep import Sweep, read_sweep
from lorafold.commands.report.sweep.sweep import choose
from lorafold.commands.report.table import one_line, show
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home
from lorafold.runs.run import Run

log = logging.getLogger(__name__)


def report(run: Run, config: ReportConfig) -> Sweep:
    """Read the runs and write `report.html`, `report.csv` and `figures/`.

    Raises:
        LorafoldError: no such folder, or no run in it.
    """
    sweep = read_sweep([run.base / with_home(folder) for folder in _listed(config.runs)])
    chosen = choose(sweep, config.chosen)
    page, table = run.folder / "report.html", run.folder / "report.csv"
    write_runs(table, sweep)
    drawings = draw(sweep, chosen)
    write_figures(run.folder / "figures", drawings)
    write_page(page, sweep, chosen, drawings)
    log.info("%s; wrote %s", one_line(sweep), page)
    show(sweep, [page, table, *([run.folder / "figures"] if drawings else [])])
    if not charts_available():
        print(NO_CHARTS)
    return sweep


def _listed(runs: Any) -> Sequence[str]:
    folders = [runs] if isinstance(runs, str) else runs
    if not isinstance(folders, list) or not folders or not all(isinstance(folder, str) for folder in folders):
        remedy = "Write python -m lorafold report outputs/merge/multirun/DATE/TIME."
        raise LorafoldError(f"runs={runs!r}, expected a list of folders", remedy=remedy)
    return folders
