"""The distances that depend on the largest principal angle alone: Asimov and spectral.

The maximum has no derivative where angles tie, which is where its minimisers lie, so it is smoothed: a power mean of
order 8 over the principal angles, which is at most the maximum and at least r^(-1/8) of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lorafold.objectives.distances._angles import angle_and_ratio
from lorafold.objectives.distances._registry import distance
from lorafold.objectives.distances.geodesic import RIGHT_ANGLE_SQUARED

ORDER = 8


def _power_mean_squared(x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """P = (mean x_j^p)^(2/p) over the principal ones, and dP/dx_j."""
    count = real.sum(-1, keepdim=True).clamp_min(1)
    x = x.where(real, 0.0)
    # relative to the largest, whose powers neither overflow nor vanish
    top = x.amax(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    power = ((x / top) ** ORDER).sum(-1, keepdim=True).clamp_min(1) / count
    mean = x.amax(-1, keepdim=True).square() * power ** (2 / ORDER)
    slope = 2 * top * power ** (2 / ORDER - 1) * (x / top) ** (ORDER - 1) / count
    return mean.squeeze(-1), slope


def _shift(shared: Tensor, rank: int) -> Tensor:
    """A guess: the solver raises it where a step does not descend."""
    return torch.full_like(shared, 1 / RIGHT_ANGLE_SQUARED)


@distance("asimov", shift=_shift)
def asimov(cos: Tensor, real: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """δ = (max_j θ_j)² / (π²/4), smoothed.  Ye & Lim 2016, Table 2."""
    angle, _ = angle_and_ratio(cos)
    mean, slope = _power_mean_squared(angle, real)
    sin = torch.sin(angle).clamp_min(math.sqrt(torch.finfo(cos.dtype).eps))
    return mean / RIGHT_ANGLE_SQUARED, -slope / sin / RIGHT_ANGLE_SQUARED


@distance("spectral", shift=_shift)
def spectral(cos: Tensor, real: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """δ = (2 sin(max_j θ_j / 2))² / 2 = 1 - cos max_j θ_j, smoothed.  Ye & Lim 2016, Table 2.

    With x = √(1 - cos θ), so x² is the distance of one angle: dx/dcos = -1 / 2x.
    """
    x = (1 - cos).clamp_min(0).sqrt()
    mean, slope = _power_mean_squared(x, real)
    return mean, -slope / (2 * x.clamp_min(math.sqrt(torch.finfo(cos.dtype).eps)))
