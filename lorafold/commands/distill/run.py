"""One run of `lorafold distill`: the model and the inputs, the record, and the merged adapter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lorafold.commands.distill.config import DistillConfig
from lorafold.commands.distill.table import kept_start, one_line, show
from lorafold.common.device import device_of
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.distill.plan import make_distill_plan
from lorafold.pipelines.distill.settings import DistillSettings
from lorafold.runs.record_run import Recorded, record_run, write_output
from lorafold.runs.run import Run

STATE = "distill.state"


def distill(run: Run, config: DistillConfig) -> dict[str, Any]:
    """See `record_run`."""
    return record_run(run, config, _recorded(run.located(config)))


def _recorded(config: DistillConfig) -> Recorded:
    """What a distillation with these settings is."""
    return Recorded(
        "distill",
        work=partial(_work, config),
        check=partial(_checked, config),
        one_line=one_line,
        show=show,
        write=write_output("distilled"),
        warning=kept_start,
    )


@dataclass(frozen=True)
class _Checked:
    device: torch.device


def _checked(config: DistillConfig, settings: DistillSettings, count: int) -> _Checked:
    """Where the model is to run, once the settings are found sound."""
    make_distill_plan(settings, count)
    if config.base is None:
        raise LorafoldError("base=null, expected the folder of a model", remedy="Write base=MODEL.")
    inputs = config.inputs
    if not isinstance(inputs, list) or len(inputs) != count:
        raise LorafoldError(
            f"inputs={inputs!r}, expected a list with a file for each of {count} adapters",
            remedy="Write 'inputs=[a.txt,b.txt]', with the quotes.",
        )
    return _Checked(device_of(config.device))
