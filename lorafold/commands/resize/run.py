"""One run of `lorafold resize`."""

from __future__ import annotations

from typing import Any

from lorafold.commands.resize.config import ResizeConfig
from lorafold.commands.resize.table import one_line, show
from lorafold.pipelines.resize.pipeline import check_resize
from lorafold.pipelines.resize.pipeline import resize as resize_adapter
from lorafold.runs.inputs import just_one
from lorafold.runs.record_run import Recorded, record_run, write_output
from lorafold.runs.run import Run

_RESIZE = Recorded(
    "resize",
    work=lambda _, paths, settings: resize_adapter(paths[0], settings),
    check=lambda settings, _: check_resize(settings),
    one_line=one_line,
    show=show,
    paths=just_one,
    write=write_output("resized"),
)


def resize(run: Run, config: ResizeConfig) -> dict[str, Any]:
    """See `record_run`."""
    return record_run(run, config, _RESIZE)
