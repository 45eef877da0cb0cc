"""One run of `lorafold resize`: what it leaves, and what it tells. Free of Hydra, as `lorafold.run` is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from lorafold.adapters import save
from lorafold.adapters.metadata import signed
from lorafold.record import write_json, write_resolved
from lorafold.report.resize_table import one_line, show
from lorafold.report.terminal import near
from lorafold.resize import check_resize
from lorafold.resize import resize as resize_adapter
from lorafold.resize_settings import ResizeSettings
from lorafold.run import Run, cpu_threads, hashed, opening, with_fingerprints
from lorafold.run_one import adapter_path, output_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResizeJob:
    """What the command adds to the settings of a change of rank.

    Args:
        settings: how much to keep.
        adapters: a path, alone or in a list, or "demo": the first of the pair that lorafold ships.
        output: where to write the adapter; None: resized[.safetensors] in the run's folder.
        threads: of the CPU; None: leave them as they are.
    """

    settings: ResizeSettings
    adapters: Any = "demo"
    output: str | None = None
    threads: int | None = None


def resize(run: Run, job: ResizeJob) -> dict[str, Any]:
    """Resize, write the adapter, `resolved.yaml` and `metrics.json` in this order, and print the table.

    Returns:
        The content of `metrics.json`.

    Raises:
        LorafoldError: a mistake in the settings or the file; nothing is written then.
    """
    start = perf_counter()
    path, job = adapter_path(job.adapters, run.base), run.located(job)
    check_resize(job.settings)
    with cpu_threads(job.threads):
        metrics = opening("resize", run, _config(job, path), torch.device("cpu"))
        result, hashes = with_fingerprints([path], lambda: resize_adapter(path, job.settings))
    resized = perf_counter()
    read = [path, *([Path(job.settings.base)] if job.settings.base else [])]
    adapter = signed(result.adapter, "resize", metrics["config"], hashes)
    target = save(adapter, output_path(run, job.output, "resized", adapter.format), forbid=read)
    written = perf_counter()
    metrics |= {"output": {"path": str(target), "format": adapter.format}, **result.metrics()}
    metrics["inputs"] = hashed(metrics["inputs"], hashes)
    metrics["summary"]["seconds"] |= {"write": written - resized, "total": perf_counter() - start}
    write_resolved(run.folder / "resolved.yaml", "resize", metrics["config"])
    write_json(run.folder / "metrics.json", metrics)
    _tell(run, metrics)
    return metrics


def _config(job: ResizeJob, path: Path) -> dict[str, Any]:
    """Every setting as it counts, path and threads as they were in fact."""
    adapters = "demo" if job.adapters == "demo" else [str(path)]
    rest = {"output": job.output, "threads": torch.get_num_threads()}
    return {"adapters": adapters, **asdict(job.settings), **rest}


def _tell(run: Run, metrics: Mapping[str, Any]) -> None:
    log.info("%s; wrote %s", one_line(metrics), metrics["output"]["path"])
    if run.alone:
        show(metrics)
    else:
        print(f"{' '.join(run.overrides)}: {one_line(metrics)} -> {near(str(run.folder))}")
