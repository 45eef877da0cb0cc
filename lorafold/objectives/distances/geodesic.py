"""Geodesic (arc-length) distance on the Grassmann manifold."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lorafold.objectives.distances._angles import angle_and_ratio
from lorafold.objectives.distances._registry import distance

RIGHT_ANGLE_SQUARED = math.pi**2 / 4
# sin²θ below this is too small to divide by.
_FLAT = 1e-8


def _shift(shared: Tensor, rank: int) -> Tensor:
    """-arccos(c)² + c² is convex on [0, 1]: its second derivative is 2 c (θ - sinθ cosθ) / sin³θ >= 0."""
    return torch.full_like(shared, 1 / (rank * RIGHT_ANGLE_SQUARED))


def _second(cos: Tensor, real: Tensor, rank: int) -> Tensor:
    """2 (sinθ - θ cosθ) / (sin³θ r π²/4), which tends to 2/3 of the scale as θ -> 0."""
    angle, ratio = angle_and_ratio(cos)
    sine = torch.sin(angle)
    curved = (1 - ratio * cos) / sine.square().clamp_min(_FLAT)
    return torch.where(sine.square() > _FLAT, curved, 1 / 3) * (2 / (rank * RIGHT_ANGLE_SQUARED))


@distance("geodesic", shift=_shift, second=_second)
def geodesic(cos: Tensor, real: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """δ = Σ_j θ_j² / (r π²/4), over the min(r, k_i) principal angles; dδ/dcos_j = -2 θ_j / (sin θ_j r π²/4).

    Edelman, Arias & Smith 1998, section 4.3.
    """
    angle, ratio = angle_and_ratio(cos)
    scale = 1 / (rank * RIGHT_ANGLE_SQUARED)
    return (angle.square() * real).sum(-1) * scale, ratio * (-2 * scale)
