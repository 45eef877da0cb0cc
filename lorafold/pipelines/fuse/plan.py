"""The settings of fusing, checked before any file is read."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lorafold.adapters.selection import Selection, read_selection
from lorafold.common.device import device_of
from lorafold.common.errors import LorafoldError, unknown
from lorafold.pipelines.fuse.settings import ROUNDINGS, FuseSettings
from lorafold.pipelines.merge.weights import is_finite


@dataclass(frozen=True)
class FusePlan:
    """Fusing, ready to run."""

    settings: FuseSettings
    weights: tuple[float, ...]
    selection: Selection
    device: torch.device


def make_fuse_plan(settings: FuseSettings, count: int) -> FusePlan:
    """Check the settings for so many adapters.

    Raises:
        LorafoldError: a value out of range or an unknown name.
    """
    weights = [1.0] * count if settings.weights is None else settings.weights
    if not isinstance(weights, list | tuple) or len(weights) != count or not all(map(is_finite, weights)):
        raise LorafoldError(
            f"weights={settings.weights!r}, expected a list of {count} finite numbers",
            remedy=f"For example 'weights=[{','.join(['0.5'] * count)}]'.",
        )
    if settings.rounding not in ROUNDINGS:
        raise unknown("rounding", settings.rounding, ROUNDINGS)
    selection = read_selection(settings.layers, settings.exclude)
    return FusePlan(settings, tuple(map(float, weights)), selection, device_of(settings.device))
