"""One run of `lorafold reproduce`: an earlier merge again, and whether it comes out the same. Free of Hydra."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import yaml

from lorafold.adapters import load
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.commands.reproduce.config import ReproduceConfig
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home
from lorafold.console.lines import tell
from lorafold.console.tables import relative_to_cwd
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.pipelines.reproduce.agreement import agreements, verdict
from lorafold.pipelines.reproduce.pipeline import check_tolerance
from lorafold.pipelines.reproduce.record import adapter_of, check_inputs, read_record
from lorafold.runs.folders import METRICS
from lorafold.runs.record import write_json
from lorafold.runs.run import Run

log = logging.getLogger(__name__)

# Of these the results may depend; what else is recorded says who asked, and when.
_PACKAGES = ("lorafold", "git", "python", "torch", "geoopt", "safetensors", "numpy")
_MACHINE = ("platform", "threads", "device", "gpu")
_MEANING = {
    "identical": "identical: every factor is the same to the bit",
    "equal": "equal within the tolerance of {tolerance:g}",
    "different": "DIFFERENT: more than the tolerance of {tolerance:g}",
}


def reproduce(run: Run, config: ReproduceConfig) -> dict[str, Any]:
    """Merge again with the settings in `resolved.yaml`, into the folder `again`, and compare the adapters.

    Returns:
        The content of `metrics.json`; `summary.verdict` is "identical", "equal" or "different".

    Raises:
        LorafoldError: no finished merge there, or its inputs have changed since; nothing is merged then.
    """
    check_tolerance(config.tolerance)
    if config.run is None:
        raise LorafoldError("run=null, expected a folder", remedy="Write lorafold reproduce FOLDER.")
    folder = run.base / with_home(config.run)
    then = read_record(folder)
    check_inputs(then)
    merged = load(adapter_of(folder, then))
    now = merge(_here(run), _merge_of(folder, config.threads))
    modules = agreements(merged, load(now["output"]["path"]))
    summary = {
        "verdict": verdict(modules, config.tolerance),
        "angle": max(module.angle for module in modules),
        "difference": max(module.difference for module in modules),
        "modules": len(modules),
    }
    metrics = {
        "command": "reproduce",
        "config": {**asdict(config), "run": str(folder)},
        **{key: now[key] for key in ("environment", "inputs", "output")},
        "changes": _changes(then["environment"], now["environment"]),
        "summary": summary,
        "modules": [asdict(module) for module in modules],
    }
    write_json(run.folder / METRICS, metrics)
    _tell(metrics)
    return metrics


def reproduce_or_fail(run: Run, config: ReproduceConfig) -> None:
    """The same as a command: a merge that comes out different ends the program with status 1."""
    if reproduce(run, config)["summary"]["verdict"] == "different":
        raise SystemExit(1)


def _merge_of(folder: Path, threads: int | None) -> MergeConfig:
    """As `resolved.yaml` says; what younger versions know in addition has its default."""
    path = folder / "resolved.yaml"
    try:
        values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise LorafoldError(f"unreadable ({error})", path=path, remedy="Give the folder of a finished run.") from None
    names = {field.name for field in fields(MergeSettings)}
    settings = {key: value for key, value in values.items() if key in names}
    threads = threads or values["threads"]
    return MergeConfig(**settings, adapters=values["adapters"], page=False, threads=threads)


def _here(run: Run) -> Run:
    folder = run.folder / "again"
    folder.mkdir(parents=True, exist_ok=True)
    return replace(run, folder=folder, alone=False)


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What the numbers may depend on beside the settings, where it is not as it was: then, now."""
    keys = (*_PACKAGES, *_MACHINE)
    return {key: [then.get(key), now.get(key)] for key in keys if then.get(key) != now.get(key)}


def _tell(metrics: Mapping[str, Any]) -> None:
    summary, config = metrics["summary"], metrics["config"]
    tell(_MEANING[summary["verdict"]].format(**config))
    tell(
        f"largest angle between subspaces {summary['angle']:.1e} rad, "
        f"largest relative difference of an update {summary['difference']:.1e}, {summary['modules']} modules"
    )
    for key, (then, now) in metrics["changes"].items():
        tell(f"{key}: {then} then, {now} now")
    tell(f"the merge again: {relative_to_cwd(metrics['output']['path'])}")
    log.info("%s", summary)
