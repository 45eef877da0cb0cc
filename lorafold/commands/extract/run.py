"""One run of `lorafold extract`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lorafold.commands.extract.config import ExtractConfig
from lorafold.commands.extract.table import one_line, show
from lorafold.common.homes import with_home
from lorafold.common.progress import progress_bar
from lorafold.pipelines.extract.pipeline import ExtractResult
from lorafold.pipelines.extract.pipeline import extract as extract_adapter
from lorafold.pipelines.extract.plan import check_models, make_extract_plan
from lorafold.pipelines.extract.settings import ExtractSettings
from lorafold.runs.inputs import watched
from lorafold.runs.record_run import Recorded, record_run, write_output
from lorafold.runs.run import Run


def extract(run: Run, config: ExtractConfig) -> dict[str, Any]:
    """See `record_run`."""
    check_models(config.base, config.tuned)
    config = run.located(config)
    command = Recorded(
        "extract",
        work=partial(_work, config.base),
        check=lambda settings, _: make_extract_plan(settings),
        one_line=one_line,
        show=show,
        paths=lambda tuned, base: [base / with_home(tuned)],
        write=write_output("extracted"),
        given="tuned",
        guarded=watched,
    )
    return record_run(run, config, command)


def _work(base: Any, run: Run, paths: Sequence[Path], settings: ExtractSettings) -> ExtractResult:
    with progress_bar(run.alone) as progress:
        return extract_adapter(base, paths[0], settings, progress=progress)
