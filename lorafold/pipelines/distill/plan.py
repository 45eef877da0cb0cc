"""The settings of a distillation, checked before any file is read, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lorafold.common.errors import LorafoldError, unknown
from lorafold.objectives import DISTANCES
from lorafold.pipelines.distill.hidden_states import LAYERS
from lorafold.pipelines.distill.settings import DistillSettings
from lorafold.pipelines.distill.student import PARAMETRISATIONS
from lorafold.pipelines.merge.plan import DTYPES, make_plan
from lorafold.pipelines.merge.settings import MergeSettings

# Radians of every column of U and V and step, or that of every number of plain factors.
_RATES = {"euclidean": 2e-3}
_RATE = 0.04


@dataclass(frozen=True)
class DistillPlan:
    """One distillation, ready to run."""

    settings: DistillSettings
    rates: dict[str, float]  # of learning, by the name of what learns
    dtype: torch.dtype | None  # of the forward passes; None: that of the model


def make_distill_plan(settings: DistillSettings, count: int) -> DistillPlan:
    """Check the settings of a distillation of `count` adapters.

    Raises:
        LorafoldError: a value out of range or an unknown name.
    """
    for kind, name, names in (
        ("manifold", settings.manifold, PARAMETRISATIONS),
        ("layers", settings.layers, LAYERS),
        ("distance", settings.distance, list(DISTANCES)),
        ("dtype", settings.dtype, ["auto", *DTYPES]),
    ):
        if name not in names:
            raise unknown(kind, name, names)
    _check_numbers(settings)
    make_plan(merge_settings(settings), count)
    return DistillPlan(settings, _rates(settings), DTYPES.get(settings.dtype))


def merge_settings(settings: DistillSettings) -> MergeSettings:
    """Those of the merge that a distillation begins with."""
    return MergeSettings(
        rank=settings.rank,
        calibration=settings.calibration,
        input_rank=settings.input_rank,
        allow_different_bases=settings.allow_different_bases,
        seed=settings.seed,
    )


def _check_numbers(settings: DistillSettings) -> None:
    for name, least in (("steps", 1), ("batch", 1), ("max_tokens", 1), ("save_every", 0)):
        if (value := getattr(settings, name)) < least:
            raise LorafoldError(f"{name}={value}, expected at least {least}", remedy=f"For example {name}=60.")
    if not 0 < settings.held_back < 1:
        raise LorafoldError(
            f"held_back={settings.held_back}, expected a share in (0, 1)", remedy="For example held_back=0.1."
        )
    rates = (("learning_rate", settings.learning_rate or 0.0), ("core_rate", settings.core_rate))
    for name, value in (*rates, ("subspace_weight", settings.subspace_weight)):
        if not (isinstance(value, int | float) and 0 <= value < float("inf")):
            raise LorafoldError(f"{name}={value!r}, expected a number >= 0", remedy=f"For example {name}=0.01.")
    if settings.subspace_weight and settings.manifold == "euclidean":
        raise LorafoldError(
            "subspace_weight with manifold=euclidean, whose factors are no frames of subspaces",
            remedy="Choose manifold=stiefel.",
        )


def _rates(settings: DistillSettings) -> dict[str, float]:
    rate: Any = settings.learning_rate
    if rate is None:
        rate = _RATES.get(settings.manifold, _RATE)
    return {"factors": rate, "subspaces": rate, "cores": settings.core_rate}
