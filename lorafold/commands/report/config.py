"""The settings of `lorafold report`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import Help
from lorafold.common.settings import COMES_OUT, GOES_IN, setting


@dataclass(frozen=True)
class ReportConfig:
    """`conf/report.yaml`: what to report on."""

    runs: Any = setting(
        "outputs",
        "folders that hold runs, at any depth, as KEY=VALUE or as plain words; sweeps may be unfinished: what is "
        "missing or failed is told",
        GOES_IN,
        files=True,
    )
    chosen: str | None = setting(
        None,
        "the run to begin with, as the table names it; null: the one whose worst adapter keeps most",
        GOES_IN,
    )

    help: ClassVar[Help] = Help(
        "the runs of a sweep on one page: table, Pareto fronts, rank curves, parts of the model, and the command that "
        "repeats each run.",
        (" outputs/merge/multirun/DATE/TIME", " sweep1 sweep2 chosen=sweep1/7"),
        (
            ("report.html", "one page for the browser that needs no other file", COMES_OUT),
            ("report.csv", "a row for every run", COMES_OUT),
            ("figures/", "the charts as SVG and PNG; they need `pip install 'lorafold[report]'`", COMES_OUT),
        ),
        left_out=("-m", "-cd DIR -cn NAME", "-cd RUN -cn resolved"),
    )
