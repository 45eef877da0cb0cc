"""The settings of an extraction, checked before any file is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lorafold.adapters import FORMATS
from lorafold.adapters.selection import Selection, read_selection
from lorafold.common.device import device_of
from lorafold.common.errors import LorafoldError, suggest, unknown
from lorafold.pipelines.extract.settings import MOST_RANK, RANK, ExtractSettings
from lorafold.pipelines.merge.plan import DTYPES


@dataclass(frozen=True)
class ExtractPlan:
    """One extraction, ready to run."""

    settings: ExtractSettings
    selection: Selection
    rank: int  # at most
    dtype: torch.dtype | None  # of the factors; None: that of the tuned model
    device: torch.device


def make_extract_plan(settings: ExtractSettings) -> ExtractPlan:
    """Check the settings.

    Raises:
        LorafoldError: a value out of range or an unknown name.
    """
    rank, energy, budget = settings.rank, settings.energy, settings.budget
    if energy is not None and budget is not None:
        raise LorafoldError("energy and budget given, expected one of them", remedy="For example energy=0.95.")
    if energy is not None and not 0 < energy <= 1:
        raise LorafoldError(f"energy={energy}, expected a share above 0, at most 1", remedy="For example energy=0.95.")
    if budget is not None and not budget > 0:
        raise LorafoldError(f"budget={budget}, expected a size in MB above 0", remedy="For example budget=100.")
    if rank is not None and rank < 1:
        raise LorafoldError(f"rank={rank}, expected at least 1", remedy=f"For example rank={RANK}.")
    if settings.format is not None and settings.format not in FORMATS:
        raise LorafoldError(
            f"format={settings.format}, expected one of {', '.join(FORMATS)}",
            remedy=f"For example format=kohya.{suggest(settings.format, FORMATS)}",
        )
    if settings.dtype not in ("auto", *DTYPES):
        raise unknown("dtype", settings.dtype, ["auto", *DTYPES])
    most = (RANK if energy is None and budget is None else MOST_RANK) if rank is None else rank
    selection = read_selection(settings.layers, settings.exclude)
    return ExtractPlan(settings, selection, most, DTYPES.get(settings.dtype), device_of(settings.device))


def check_models(base: str | Path | None, tuned: str | Path | None) -> None:
    """Raise LorafoldError unless two models are named."""
    for name, path in (("base", base), ("tuned", tuned)):
        if path is None or not str(path).strip():
            raise LorafoldError(
                f"{name}={path}, expected a model: a safetensors file or a folder",
                remedy="For example lorafold extract base=BASE tuned=TUNED rank=32.",
            )
