"""Procrustes distance: how far the frames are apart in the best gauge."""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.objectives.distances._registry import distance


@distance(
    "procrustes",
    shift=lambda shared, rank: torch.zeros_like(shared),
    second=lambda cos, real, rank: torch.zeros_like(cos),
)
def procrustes(cos: Tensor, real: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """δ = Σ_j (1 - cos θ_j) / r = min_Q ‖U - U_iQ‖² / 2r for equal ranks; -δ is a nuclear norm, convex in O.

    Edelman, Arias & Smith 1998, section 4.3 (projection 2-norm there, up to the factor 2).
    """
    return ((1 - cos) * real).sum(-1) / rank, torch.full_like(cos, -1 / rank)
