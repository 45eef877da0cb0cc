"""One run of `lorafold merge`: the record, the merged adapter and `overlap.html`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from lorafold.adapters.files.atomic import remove
from lorafold.adapters.metadata.header import signed
from lorafold.adapters.save import save, saving
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.page import try_merge_page
from lorafold.commands.merge.table import not_converged, one_line, show
from lorafold.common.progress import progress_bar
from lorafold.pipelines.merge.pipeline import MergeResult, merge_and_compare
from lorafold.pipelines.merge.pipeline import merge as merge_adapters
from lorafold.pipelines.merge.plan import make_plan, resolved
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.inputs import adapter_paths
from lorafold.runs.output import check_output
from lorafold.runs.record_run import Outcome, Recorded, record_run, signed_output
from lorafold.runs.run import Run

_log = logging.getLogger(__name__)


def _merge(page: bool, run: Run, paths: Sequence[Path], settings: MergeSettings) -> MergeResult:
    work = merge_and_compare if page else merge_adapters
    with progress_bar(run.alone) as progress:
        return work(paths, settings, progress=progress)


def _resolved(settings: MergeSettings, count: int) -> dict[str, Any]:
    """Choices with all their options, and the strength for so many adapters."""
    values = asdict(settings.with_strength(count))
    return values | {name: resolved(name, values[name]) for name in ("objective", "manifold", "solver", "core")}


def _write(outcome: Outcome) -> dict[str, Any]:
    """The merged adapter, and the residual beside it; never one of them beside what the other was before."""
    adapter, target = signed_output(outcome, "merged")
    written, beside = {"output": {"path": str(target), "format": adapter.format}}, _residual_path(target)
    if outcome.result.residual is None:
        save(adapter, target, forbid=outcome.read)
        _warn_of_another(beside)
        return written
    metrics = outcome.metrics
    lost = signed(outcome.result.residual.adapter, metrics["command"], metrics["config"], outcome.hashes)
    with saving(lost, beside, forbid=outcome.read), saving(adapter, target, forbid=outcome.read):
        remove(beside)  # both are written, and take their places one after the other
    return {**written, "residual": {"path": str(beside)}}


def _warn_of_another(residual: Path) -> None:
    if residual.exists():
        _log.warning("%s: of an earlier merge, whose loss it is; it does not belong to this one", residual)


def _residual_path(merged: Path) -> Path:
    """`merged_residual.safetensors`, or the folder `merged_residual`."""
    return merged.with_name(f"{merged.stem}_residual{merged.suffix}")


def _extras(outcome: Outcome) -> dict[str, Any]:
    if not outcome.config.page:
        return {}
    return {"page": try_merge_page(outcome.run.folder / "overlap.html", outcome.metrics, outcome.result)}


_MERGE = Recorded(
    "merge",
    work=partial(_merge, False),
    check=make_plan,
    one_line=one_line,
    show=show,
    resolved=_resolved,
    write=_write,
    extras=_extras,
    warning=not_converged,
)


def merge(run: Run, config: MergeConfig) -> dict[str, Any]:
    """See `record_run`; `path` and `score` are of no concern here."""
    if config.residual and config.output:
        beside = str(_residual_path(Path(config.output)))
        check_output(run.base, beside, config.overwrite, adapter_paths(config.adapters, run.base))
    return record_run(run, config, replace(_MERGE, work=partial(_merge, config.page)))
