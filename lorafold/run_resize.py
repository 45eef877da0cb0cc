"""One run of `lorafold resize`."""

from __future__ import annotations

from typing import Any

from lorafold.report.resize_table import one_line, show
from lorafold.resize import check_resize
from lorafold.resize import resize as resize_adapter
from lorafold.run import Run
from lorafold.run_one import OneJob, Rewriting, rewrite

_RESIZE = Rewriting("resize", "resized", check_resize, resize_adapter, one_line, show)


def resize(run: Run, job: OneJob) -> dict[str, Any]:
    """See `rewrite`; the settings are `ResizeSettings`."""
    return rewrite(run, job, _RESIZE)
