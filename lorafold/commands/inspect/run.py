"""One run of `lorafold inspect`: `inspect.json`, and `modules.csv` if wanted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from lorafold.commands.inspect.config import InspectConfig
from lorafold.commands.inspect.csv import write_modules
from lorafold.commands.inspect.table import one_line, show
from lorafold.common.parallel import cpu_threads
from lorafold.console.lines import tell
from lorafold.console.tables import relative_to_cwd
from lorafold.pipelines.inspect.pipeline import inspect as inspect_adapter
from lorafold.runs.inputs import hashed, one_or_more, with_fingerprints
from lorafold.runs.record import opening, write_json
from lorafold.runs.run import Run

log = logging.getLogger(__name__)


def inspect(run: Run, config: InspectConfig) -> dict[str, Any]:
    """Look at each adapter, write what there is to know, and print a table for each.

    Returns:
        The content of `inspect.json`.

    Raises:
        LorafoldError: a file that cannot be read; nothing is written then.
    """
    paths = one_or_more(config.adapters, run.base)
    with cpu_threads(config.threads):
        settings = {**asdict(config), "adapters": [*map(str, paths)], "threads": torch.get_num_threads()}
        metrics = opening("inspect", run, settings, torch.device("cpu"))
        adapters, hashes = with_fingerprints(
            paths, lambda: [inspect_adapter(path, config.settings()).metrics() for path in paths]
        )
    metrics["adapters"] = hashed(adapters, hashes)
    if config.csv:
        write_modules(run.folder / "modules.csv", metrics["adapters"])
    write_json(run.folder / "inspect.json", metrics)
    _tell(run, metrics)
    return metrics


def _tell(run: Run, metrics: Mapping[str, Any]) -> None:
    for adapter in metrics["adapters"]:
        log.info("%s", one_line(adapter))
        for warning in adapter["warnings"]:
            log.info("%s: %s", adapter["path"], warning)
        show(adapter) if run.alone else tell(one_line(adapter))
    if run.alone:
        tell(f"everything else: {relative_to_cwd(str(run.folder))}/inspect.json")
