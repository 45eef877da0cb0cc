"""One run of `lorafold inspect`: what it leaves, and what it tells. Free of Hydra, as `lorafold.runs.run` is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lorafold.commands.inspect.csv import write_csv
from lorafold.commands.inspect.table import one_line, show
from lorafold.console.lines import tell
from lorafold.console.tables import near
from lorafold.pipelines.inspect.pipeline import inspect as inspect_adapter
from lorafold.runs.one_adapter import listed
from lorafold.runs.record import write_json
from lorafold.runs.run import Run, adapter_paths, cpu_threads, hashed, opening, with_fingerprints

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InspectJob:
    """What to look at.

    Args:
        adapters: a path, or a list of paths, or "demo": the pair that lorafold ships.
        csv: whether to write `modules.csv`.
        threads: of the CPU; None: leave them as they are.
    """

    adapters: Any = "demo"
    csv: bool = False
    threads: int | None = None


def inspect(run: Run, job: InspectJob) -> dict[str, Any]:
    """Look at each adapter, write `inspect.json` and, if wanted, `modules.csv`, and print a table for each.

    Returns:
        The content of `inspect.json`.

    Raises:
        LorafoldError: a file that cannot be read; nothing is written then.
    """
    paths = adapter_paths(listed(job.adapters), run.base)
    with cpu_threads(job.threads):
        config = {"adapters": [str(path) for path in paths], "csv": job.csv, "threads": torch.get_num_threads()}
        metrics = opening("inspect", run, config, torch.device("cpu"))
        found, hashes = with_fingerprints(paths, lambda: [inspect_adapter(path).metrics() for path in paths])
    metrics["adapters"] = hashed(found, hashes)
    if job.csv:
        write_csv(run.folder / "modules.csv", metrics["adapters"])
    write_json(run.folder / "inspect.json", metrics)
    _tell(run, metrics)
    return metrics


def _tell(run: Run, metrics: Mapping[str, Any]) -> None:
    for adapter in metrics["adapters"]:
        log.info("%s", one_line(adapter))
        for warning in adapter["warnings"]:
            log.info("%s: %s", adapter["path"], warning)
    if run.alone:
        for adapter in metrics["adapters"]:
            show(adapter)
        tell(f"everything else: {near(str(run.folder))}/inspect.json")
    else:
        for adapter in metrics["adapters"]:
            tell(one_line(adapter))
