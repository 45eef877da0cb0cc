"""One run of `lorafold fuse`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lorafold.commands.fuse.config import FuseConfig
from lorafold.commands.fuse.table import one_line, show
from lorafold.common.homes import with_home
from lorafold.common.progress import progress_bar
from lorafold.pipelines.fuse.pipeline import FuseResult, check_base
from lorafold.pipelines.fuse.pipeline import fuse as fuse_adapters
from lorafold.pipelines.fuse.plan import make_fuse_plan
from lorafold.pipelines.fuse.settings import FuseSettings
from lorafold.runs.inputs import one_or_more
from lorafold.runs.record_run import Outcome, Recorded, record_run
from lorafold.runs.run import Run


def fuse(run: Run, config: FuseConfig) -> dict[str, Any]:
    """See `record_run`."""
    check_base(config.base)
    command = Recorded(
        "fuse",
        work=partial(_work, run.located(config).base),
        check=make_fuse_plan,
        one_line=one_line,
        show=show,
        paths=one_or_more,
        write=_write,
    )
    return record_run(run, config, command)


def _work(base: Any, _: Run, paths: Sequence[Path], settings: FuseSettings) -> FuseResult:
    return fuse_adapters(base, paths, settings)


def _write(outcome: Outcome) -> dict[str, Any]:
    """The model, where the user wants it or in the run's folder."""
    run, result = outcome.run, outcome.result
    stem = "fused.safetensors" if result.layout.checkpoint.path.is_file() else "fused"
    named = outcome.config.output
    target = run.folder / stem if named is None else run.base / with_home(named)
    with progress_bar(run.alone) as progress:
        model = result.write(target, progress=progress)
    return {**model.metrics(), "output": {"path": str(model.path)}}
