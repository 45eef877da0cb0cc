"""One run of `lorafold convert`."""

from __future__ import annotations

from typing import Any

from lorafold.commands.convert.config import ConvertConfig
from lorafold.commands.convert.table import one_line, show
from lorafold.pipelines.convert import pipeline as conversion
from lorafold.runs.inputs import just_one
from lorafold.runs.record_run import Recorded, record_run, write_output
from lorafold.runs.run import Run

_CONVERT = Recorded(
    "convert",
    work=lambda _, paths, settings: conversion.convert(paths[0], settings),
    check=lambda settings, _: conversion.check_convert(settings),
    one_line=one_line,
    show=show,
    paths=just_one,
    write=write_output("converted"),
)


def convert(run: Run, config: ConvertConfig) -> dict[str, Any]:
    """See `record_run`."""
    return record_run(run, config, _CONVERT)
