"""One run of `lorafold resize`."""

from __future__ import annotations

from typing import Any

from lorafold.commands.resize.table import one_line, show
from lorafold.pipelines.resize.pipeline import check_resize
from lorafold.pipelines.resize.pipeline import resize as resize_adapter
from lorafold.runs.one_adapter import OneJob, Rewriting, rewrite
from lorafold.runs.run import Run

_RESIZE = Rewriting("resize", "resized", check_resize, resize_adapter, one_line, show)


def resize(run: Run, job: OneJob) -> dict[str, Any]:
    """See `rewrite`; the settings are `ResizeSettings`."""
    return rewrite(run, job, _RESIZE)
