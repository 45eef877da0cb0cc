"""One run of `lorafold align`: what it leaves, and what it tells. Free of Hydra, as `lorafold.runs.run` is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from lorafold.adapters import FORMATS, Adapter, save
from lorafold.adapters.files.locate import locate
from lorafold.adapters.files.tensor_file import open_tensors
from lorafold.adapters.metadata.header import signed
from lorafold.commands.align.table import not_converged, one_line, show
from lorafold.console.lines import tell
from lorafold.console.tables import near
from lorafold.pipelines.align.pipeline import align as align_adapters
from lorafold.pipelines.align.pipeline import check_align
from lorafold.pipelines.align.settings import AlignSettings
from lorafold.runs.record import write_json, write_resolved
from lorafold.runs.run import Run, adapter_paths, cpu_threads, hashed, opening, with_fingerprints

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AlignJob:
    """What the command adds to the settings of an alignment.

    Args:
        settings: of the alignment.
        adapters: a list of paths, or "demo": the pair that lorafold ships.
        threads: of the CPU; None: leave them as they are.
    """

    settings: AlignSettings
    adapters: Any = "demo"
    threads: int | None = None


def align(run: Run, job: AlignJob) -> dict[str, Any]:
    """Align, write the adapters that change, `resolved.yaml` and `metrics.json` in this order, and print the table.

    Of the first adapter the output is its own file, but where that does not hold its factors as they are matched.

    Returns:
        The content of `metrics.json`.

    Raises:
        LorafoldError: a mistake in the settings or the files; nothing is written then.
    """
    start = perf_counter()
    run.announce(job.adapters)
    paths, job = adapter_paths(job.adapters, run.base), run.located(job)
    check_align(job.settings, len(paths))
    with cpu_threads(job.threads):
        metrics = opening("align", run, _config(job, paths), torch.device("cpu"))
        result, hashes = with_fingerprints(paths, lambda: align_adapters(paths, job.settings))
    aligned = perf_counter()
    adapters = [
        signed(adapter, "align", metrics["config"], [sha256], reference=None if number == 0 else hashes[0])
        for number, (adapter, sha256) in enumerate(zip(result.adapters, hashes, strict=True))
    ]
    targets = _save_all(run.folder, adapters, paths, spare=_holds(paths[0], result.adapters[0]))
    done = perf_counter()
    formats = [adapter.format for adapter in result.adapters]
    metrics["outputs"] = [{"path": str(path), "format": form} for path, form in zip(targets, formats, strict=True)]
    metrics |= result.metrics()
    metrics["inputs"] = hashed(metrics["inputs"], hashes)
    metrics["summary"]["seconds"] |= {"write": done - aligned, "total": done - start}
    write_resolved(run.folder / "resolved.yaml", "align", metrics["config"])
    write_json(run.folder / "metrics.json", metrics)
    _tell(run, metrics)
    return metrics


def _config(job: AlignJob, paths: Sequence[Path]) -> dict[str, Any]:
    """Every setting as it counts, paths and threads as they were in fact."""
    adapters = "demo" if job.adapters == "demo" else [str(path) for path in paths]
    return {"adapters": adapters, **asdict(job.settings), "threads": torch.get_num_threads()}


def _holds(path: Path, adapter: Adapter) -> bool:
    """Whether the file holds these very tensors, so that there is nothing to write."""
    there = open_tensors(locate(path)).tensors
    tensors = FORMATS[adapter.format].tensors(adapter)
    return all(key in there and torch.equal(there[key], tensor) for key, tensor in tensors.items())


def _save_all(folder: Path, adapters: Sequence[Adapter], paths: Sequence[Path], spare: bool) -> list[Path]:
    """`aligned_1`, ... as files or folders, whichever the format is; where the first is spared, its own file."""
    targets = [
        folder / f"aligned_{number}{'' if FORMATS[adapter.format].companions else '.safetensors'}"
        for number, adapter in enumerate(adapters, 1)
    ]
    written = [save(*pair, forbid=paths) for pair in list(zip(adapters, targets, strict=True))[spare:]]
    return [*paths[:spare], *written]


def _tell(run: Run, metrics: Mapping[str, Any]) -> None:
    log.info("%s; wrote %s", one_line(metrics), run.folder)
    if warning := not_converged(metrics):
        log.info("%s", warning)
    if run.alone:
        show(metrics)
    else:
        tell(f"{' '.join(run.overrides)}: {one_line(metrics)} -> {near(str(run.folder))}")
