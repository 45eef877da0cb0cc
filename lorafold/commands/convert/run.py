"""One run of `lorafold convert`."""

from __future__ import annotations

from typing import Any

from lorafold.commands.convert.table import one_line, show
from lorafold.pipelines.convert import pipeline as conversion
from lorafold.runs.one_adapter import OneJob, Rewriting, rewrite
from lorafold.runs.run import Run

_CONVERT = Rewriting("convert", "converted", conversion.check_convert, conversion.convert, one_line, show)


def convert(run: Run, job: OneJob) -> dict[str, Any]:
    """See `rewrite`; the settings are `ConvertSettings`."""
    return rewrite(run, job, _CONVERT)
