"""One run of `lorafold compare`: the record, `modules.csv` and `overlap.html`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lorafold.adapters.formats.fingerprint import fingerprint, unchanged
from lorafold.commands.compare.config import CompareConfig
from lorafold.commands.compare.csv import write_modules
from lorafold.commands.compare.table import one_line, show
from lorafold.pipelines.compare.pipeline import CompareResult, check_compare
from lorafold.pipelines.compare.pipeline import compare as compare_adapters
from lorafold.pipelines.compare.settings import CompareSettings
from lorafold.runs.inputs import adapter_paths, hashed
from lorafold.runs.record_run import Outcome, Recorded, record_run
from lorafold.runs.run import Run


def _work(_: Run, paths: Sequence[Path], settings: CompareSettings) -> CompareResult:
    with unchanged(settings.panel):
        return compare_adapters(paths, settings)


def _extras(outcome: Outcome) -> dict[str, Any]:
    folder, panel = outcome.run.folder, outcome.metrics["panel"]
    outcome.metrics["panel"] = hashed(panel, [fingerprint(adapter["path"]) for adapter in panel])
    write_modules(folder / "modules.csv", outcome.metrics)
    if not outcome.config.page:
        return {}
    from lorafold.pages.overlap import write_page  # half as many imports without a page

    write_page(folder / "overlap.html", outcome.metrics, outcome.result.grids)
    return {"page": str(folder / "overlap.html")}


_COMPARE = Recorded(
    "compare",
    work=_work,
    check=check_compare,
    one_line=one_line,
    show=show,
    resolved=lambda settings, _: {
        **asdict(settings),
        "distances": list(settings.distances),
        "panel": list(settings.panel),
    },
    extras=_extras,
)


def compare(run: Run, config: CompareConfig) -> dict[str, Any]:
    """See `record_run`."""
    if isinstance(config.panel, list) and config.panel:
        config = replace(config, panel=[str(path) for path in adapter_paths(config.panel, run.base)])
    return record_run(run, config, _COMPARE)
