"""One run of `lorafold compare`: what it leaves, and what it tells. Free of Hydra, as `lorafold.runs.run` is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from lorafold.commands.compare.csv import write_csv
from lorafold.commands.compare.table import one_line, show
from lorafold.console.lines import tell
from lorafold.console.tables import near
from lorafold.pipelines.compare.pipeline import CompareResult, check_compare
from lorafold.pipelines.compare.pipeline import compare as compare_adapters
from lorafold.pipelines.compare.settings import CompareSettings
from lorafold.runs.record import write_json, write_resolved
from lorafold.runs.run import Run, adapter_paths, cpu_threads, hashed, opening, with_fingerprints

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompareJob:
    """What the command adds to the settings of a comparison.

    Args:
        settings: of the comparison.
        adapters: a list of paths, or "demo": the pair that lorafold ships.
        page: whether to write `overlap.html`.
        threads: of the CPU; None: leave them as they are.
    """

    settings: CompareSettings
    adapters: Any = "demo"
    page: bool = True
    threads: int | None = None


def compare(run: Run, job: CompareJob) -> dict[str, Any]:
    """Compare, write `resolved.yaml`, `modules.csv`, the page and `metrics.json` in this order, and print the table.

    Returns:
        The content of `metrics.json`.

    Raises:
        LorafoldError: a mistake in the settings or the files; nothing is written then.
    """
    start = perf_counter()
    run.announce(job.adapters)
    paths, job = adapter_paths(job.adapters, run.base), run.located(job)
    check_compare(job.settings, len(paths))
    with cpu_threads(job.threads):
        metrics = opening("compare", run, _config(job, paths), torch.device("cpu"))
        result, hashes = with_fingerprints(paths, lambda: compare_adapters(paths, job.settings))
    metrics |= result.metrics()
    metrics["inputs"] = hashed(metrics["inputs"], hashes)
    metrics["summary"]["seconds"]["total"] = perf_counter() - start
    write_resolved(run.folder / "resolved.yaml", "compare", metrics["config"])
    write_csv(run.folder / "modules.csv", metrics)
    if job.page:
        metrics["page"] = _write_page(run.folder / "overlap.html", metrics, result)
        metrics["summary"]["seconds"]["total"] = perf_counter() - start
    write_json(run.folder / "metrics.json", metrics)
    _tell(run, metrics)
    return metrics


def _config(job: CompareJob, paths: Sequence[Path]) -> dict[str, Any]:
    """Every setting as it counts, paths and threads as they were in fact."""
    adapters = "demo" if job.adapters == "demo" else [str(path) for path in paths]
    settings = {**asdict(job.settings), "distances": list(job.settings.distances)}
    return {"adapters": adapters, **settings, "page": job.page, "threads": torch.get_num_threads()}


def _write_page(path: Path, metrics: Mapping[str, Any], result: CompareResult) -> str:
    from lorafold.pages.overlap import write_page  # half as many imports without a page

    write_page(path, metrics, result.grids)
    return str(path)


def _tell(run: Run, metrics: Mapping[str, Any]) -> None:
    log.info("%s; wrote %s", one_line(metrics), run.folder)
    if run.alone:
        show(metrics)
    else:
        tell(f"{' '.join(run.overrides)}: {one_line(metrics)} -> {near(str(run.folder))}")
