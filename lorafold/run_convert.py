"""One run of `lorafold convert`."""

from __future__ import annotations

from typing import Any

from lorafold import conversion
from lorafold.report.convert_table import one_line, show
from lorafold.run import Run
from lorafold.run_one import OneJob, Rewriting, rewrite

_CONVERT = Rewriting("convert", "converted", conversion.check_convert, conversion.convert, one_line, show)


def convert(run: Run, job: OneJob) -> dict[str, Any]:
    """See `rewrite`; the settings are `ConvertSettings`."""
    return rewrite(run, job, _CONVERT)
