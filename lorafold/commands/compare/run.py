"""One run of `lorafold compare`: the record, `modules.csv` and `overlap.html`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lorafold.commands.compare.config import CompareConfig
from lorafold.commands.compare.csv import write_modules
from lorafold.commands.compare.table import one_line, show
from lorafold.pipelines.compare.pipeline import check_compare
from lorafold.pipelines.compare.pipeline import compare as compare_adapters
from lorafold.runs.record_run import Outcome, Recorded, record_run
from lorafold.runs.run import Run


def _extras(outcome: Outcome) -> dict[str, Any]:
    folder = outcome.run.folder
    write_modules(folder / "modules.csv", outcome.metrics)
    if not outcome.config.page:
        return {}
    from lorafold.pages.overlap import write_page  # half as many imports without a page

    write_page(folder / "overlap.html", outcome.metrics, outcome.result.grids)
    return {"page": str(folder / "overlap.html")}


_COMPARE = Recorded(
    "compare",
    work=lambda _, paths, settings: compare_adapters(paths, settings),
    check=check_compare,
    one_line=one_line,
    show=show,
    resolved=lambda settings, _: {**asdict(settings), "distances": list(settings.distances)},
    extras=_extras,
)


def compare(run: Run, config: CompareConfig) -> dict[str, Any]:
    """See `record_run`."""
    return record_run(run, config, _COMPARE)
