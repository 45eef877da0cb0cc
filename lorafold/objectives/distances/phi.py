"""Normalised subspace similarity of the LoRA paper, as a distance: every adapter counts alike."""

from __future__ import annotations

from torch import Tensor

from lorafold.objectives.distances._registry import distance


@distance("phi", quadratic=True)
def phi(shared: Tensor, rank: int) -> Tensor:
    """δ = 1 - φ with φ = ‖U_iᵀU‖² / min(r, k_i).

    Hu et al. 2021 (LoRA), equation 4. φ is a similarity, so it is maximised.
    """
    return 1 / shared.clamp_min(1)
