"""Angles from cosines, stable at both ends."""

from __future__ import annotations

import torch
from torch import Tensor


def angle_and_ratio(cos: Tensor) -> tuple[Tensor, Tensor]:
    """θ = arccos c and θ / sin θ, which tends to 1 as θ -> 0, for c in [0, 1]."""
    sin = (1 - cos.square()).clamp_min(0).sqrt()
    angle = torch.atan2(sin, cos)
    return angle, torch.where(sin > 0, angle / sin, 1.0)
