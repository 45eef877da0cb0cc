"""One run of `lorafold merge`: what it leaves, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from lorafold.adapters import save
from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.adapters.metadata.header import signed
from lorafold.commands.merge.page import try_merge_page
from lorafold.commands.merge.table import not_converged, one_line, show
from lorafold.console.lines import tell
from lorafold.console.progress import progress_bar
from lorafold.console.tables import near
from lorafold.pipelines.merge.pipeline import MergeResult
from lorafold.pipelines.merge.pipeline import merge as merge_adapters
from lorafold.pipelines.merge.plan import make_plan, resolved
from lorafold.pipelines.merge.settings import Settings
from lorafold.runs.evaluator import evaluate, find_evaluator
from lorafold.runs.folders import clear, finished, sweep_up
from lorafold.runs.output import check_output, output_path
from lorafold.runs.record import write_json, write_resolved
from lorafold.runs.run import Run, adapter_paths, cpu_threads, hashed, log, opening, with_fingerprints
from lorafold.runs.tracking import find_tracker


@dataclass(frozen=True)
class MergeJob:
    """What the command adds to the settings of a merge.

    Args:
        settings: of the merge.
        adapters: a list of paths, or "demo": the pair that lorafold ships.
        output: where to write the adapter; None: merged[.safetensors] in the run's folder.
        page: whether to write `overlap.html`: adapters and merged adapter compared.
        evaluator: package.module:function, called with the path of the merged adapter; see `find_evaluator`.
        tracker: where settings and figures are logged beside `metrics.json`; see `find_tracker`.
        resume: leave a finished run of the same settings in the run's folder as it is.
        overwrite: whether there may be something at `output` already.
        threads: of the CPU; None: leave them as they are.
    """

    settings: Settings
    adapters: Any = "demo"
    output: str | None = None
    page: bool = True
    evaluator: str | None = None
    tracker: str | None = None
    resume: bool = False
    overwrite: bool = False
    threads: int | None = None


def merge(run: Run, job: MergeJob) -> dict[str, Any]:
    """Merge, write the adapter, `resolved.yaml`, the page and `metrics.json` in this order, and print the table.

    Returns:
        The content of `metrics.json`.

    Raises:
        LorafoldError: a mistake in the settings or the files; nothing is written then.
    """
    start = perf_counter()
    run.announce(job.adapters)
    paths, job = adapter_paths(job.adapters, run.base), run.located(job)
    with cpu_threads(job.threads):
        device = make_plan(job.settings, len(paths)).device  # finds most mistakes, before any file is read
        metrics = opening("merge", run, _config(job, paths), device)
        if job.resume and (done := finished(run.folder, metrics["config"], [fingerprint(path) for path in paths])):
            tell(f"{' '.join(run.overrides)}: finished already -> {near(str(run.folder))}")
            sweep_up(run.folder)
            return done
        read: list[str | Path] = [*paths, *filter(None, [job.settings.base])]
        check_output(run.base, job.output, job.overwrite, read)
        judge = find_evaluator(job.evaluator, run.base) if job.evaluator else None
        track = find_tracker(job.tracker) if job.tracker else None
        clear(run.folder)
        result, hashes = _merge(paths, job.settings, run.alone)
    merged = perf_counter()
    adapter = signed(result.adapter, "merge", metrics["config"], hashes)
    target = save(adapter, output_path(run.folder, run.base, job.output, "merged", adapter.format), forbid=read)
    written = perf_counter()
    metrics |= {"output": {"path": str(target), "format": adapter.format}, **result.metrics()}
    metrics["inputs"] = hashed(metrics["inputs"], hashes)
    write_resolved(run.folder / "resolved.yaml", "merge", metrics["config"])
    with cpu_threads(job.threads):
        if job.page:
            metrics["page"] = try_merge_page(run.folder / "overlap.html", metrics, result)
        shown = perf_counter()
        if judge:
            metrics["evaluation"] = evaluate(judge, target)
    seconds = {"write": written - merged, "page": shown - written, "evaluate": perf_counter() - shown}
    metrics["summary"]["seconds"] |= {**seconds, "total": perf_counter() - start}
    write_json(run.folder / "metrics.json", metrics)
    if track:
        track(" ".join(run.overrides) or run.folder.name, metrics)
    _tell(run, metrics)
    return metrics


def _config(job: MergeJob, paths: Sequence[Path]) -> dict[str, Any]:
    """Every setting as it counts: choices with all their options, strength, paths and threads as they were in fact."""
    settings = asdict(job.settings.with_strength(len(paths)))
    groups = {name: resolved(name, settings[name]) for name in ("objective", "manifold", "solver", "core")}
    adapters = "demo" if job.adapters == "demo" else [str(path) for path in paths]
    rest = {name: getattr(job, name) for name in ("output", "page", "evaluator", "tracker")}
    return {"adapters": adapters, **settings, **groups, **rest, "threads": torch.get_num_threads()}


def _merge(paths: Sequence[Path], settings: Settings, watched: bool) -> tuple[MergeResult, list[str]]:
    with progress_bar(watched) as progress:
        return with_fingerprints(paths, lambda: merge_adapters(paths, settings, progress=progress))


def _tell(run: Run, metrics: Mapping[str, Any]) -> None:
    log.info("%s; wrote %s", one_line(metrics), metrics["output"]["path"])
    if warning := not_converged(metrics):
        log.info("%s", warning)
    if run.alone:
        show(metrics)
    else:
        tell(f"{' '.join(run.overrides)}: {one_line(metrics)} -> {near(str(run.folder))}")
