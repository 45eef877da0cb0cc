"""One run of a command that makes one adapter of another: what it leaves, and what it tells. Free of Hydra."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from lorafold.adapters import save
from lorafold.adapters.metadata.header import signed
from lorafold.common.errors import LorafoldError
from lorafold.common.registry import located
from lorafold.console.lines import tell
from lorafold.console.tables import near
from lorafold.runs.output import check_output, output_path
from lorafold.runs.record import write_json, write_resolved
from lorafold.runs.run import Run, adapter_paths, cpu_threads, hashed, opening, with_fingerprints

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OneJob:
    """What the command adds to the settings.

    Args:
        settings: `ConvertSettings` or `ResizeSettings`.
        adapters: a path, alone or in a list, or "demo": the first of the pair that lorafold ships.
        output: where to write the adapter; None: in the run's folder.
        overwrite: whether there may be something at `output` already.
        threads: of the CPU; None: leave them as they are.
    """

    settings: Any
    adapters: Any = "demo"
    output: str | None = None
    overwrite: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Rewriting:
    """One such command: its name, what it calls the adapter, and what it does and says."""

    command: str
    stem: str
    check: Callable[[Any], object]  # of the settings, before a file is read
    change: Callable[[Path, Any], Any]  # a result with `adapter` and `metrics()`
    one_line: Callable[[Mapping[str, Any]], str]
    show: Callable[[Mapping[str, Any]], None]


def rewrite(run: Run, job: OneJob, to: Rewriting) -> dict[str, Any]:
    """Change the adapter, write it, `resolved.yaml` and `metrics.json` in this order, and print the table.

    Returns:
        The content of `metrics.json`.

    Raises:
        LorafoldError: a mistake in the settings or the file; nothing is written then.
    """
    start = perf_counter()
    path, job = adapter_path(job.adapters, run.base), run.located(job)
    to.check(job.settings)
    read = [path, *([Path(job.settings.base)] if job.settings.base else [])]
    check_output(run.base, job.output, job.overwrite, read)
    with cpu_threads(job.threads):
        metrics = opening(to.command, run, _config(job, path), torch.device("cpu"))
        result, hashes = with_fingerprints([path], lambda: to.change(path, job.settings))
    changed = perf_counter()
    adapter = signed(result.adapter, to.command, metrics["config"], hashes)
    target = save(adapter, output_path(run.folder, run.base, job.output, to.stem, adapter.format), forbid=read)
    written = perf_counter()
    metrics |= {"output": {"path": str(target), "format": adapter.format}, **result.metrics()}
    metrics["inputs"] = hashed(metrics["inputs"], hashes)
    metrics["summary"]["seconds"] |= {"write": written - changed, "total": perf_counter() - start}
    write_resolved(run.folder / "resolved.yaml", to.command, metrics["config"])
    write_json(run.folder / "metrics.json", metrics)
    log.info("%s; wrote %s", to.one_line(metrics), metrics["output"]["path"])
    if run.alone:
        to.show(metrics)
    else:
        tell(f"{' '.join(run.overrides)}: {to.one_line(metrics)} -> {near(str(run.folder))}")
    return metrics


def _config(job: OneJob, path: Path) -> dict[str, Any]:
    """Every setting as it counts, path and threads as they were in fact."""
    adapters = "demo" if job.adapters == "demo" else [str(path)]
    settings = {key: located(value) for key, value in asdict(job.settings).items()}
    rest = {"output": job.output, "threads": torch.get_num_threads()}
    return {"adapters": adapters, **settings, **rest}


def listed(adapters: Any) -> Any:
    """A single path serves as a list of one."""
    return [adapters] if isinstance(adapters, str) and adapters != "demo" else adapters


def adapter_path(adapters: Any, base: Path) -> Path:
    """The one file or folder that `adapters=` names, relative ones from `base`; of the shipped pair, the first.

    Raises:
        LorafoldError: none, or several.
    """
    paths = adapter_paths(listed(adapters), base)
    if len(paths) > 1 and adapters != "demo":
        raise LorafoldError(
            f"adapters={adapters!r}, expected one adapter",
            remedy="For a run for each of them write 'adapters=[a],[b]' and add -m.",
        )
    return paths[0]
