"""Chordal distance: every shared dimension counts alike."""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.objectives.distances._registry import distance


@distance("chordal", quadratic=True)
def chordal(shared: Tensor, rank: int) -> Tensor:
    """δ = Σ_j sin²θ_j / r = (min(r, k_i) - ‖U_iᵀU‖²) / r.

    The squared chordal (projection F-) distance; Edelman, Arias & Smith 1998, section 4.3.
    """
    return torch.full_like(shared, 1 / rank)
