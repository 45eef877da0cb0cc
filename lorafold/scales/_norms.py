"""Scales that give the merged adapter a norm: that of its inputs, or of what is left of them."""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.scales._registry import Scale, UpdateNorms, scale

_MOST_REVIVED = 2.0


@scale("max_norm", gives_norm=True)
def max_norm(sizes: UpdateNorms) -> Tensor:
    """λ‖ΔW_3‖ = max_i ‖ΔW_i‖: as strong as the strongest input, norms being those of whole adapters."""
    return (sizes.energies.max() / sizes.merged.sum()).sqrt()


@scale("mean_norm", gives_norm=True)
def mean_norm(sizes: UpdateNorms) -> Tensor:
    """λ²‖ΔW_3‖² = Σ ŵ_i‖ΔW_i‖²: the mean energy of the inputs, summed over the modules."""
    return ((sizes.shares * sizes.inputs).sum() / sizes.merged.sum()).sqrt()


@scale("retained", gives_norm=True)
def retained(sizes: UpdateNorms) -> Tensor:
    """λ²‖ΔW_3‖² = Σ ŵ_i‖UᵀΔW_iV‖²: the mean energy that the inputs have inside the merged subspaces.

    Below `mean_norm` by what the rank cuts off.
    """
    return ((sizes.shares * sizes.retained).sum() / sizes.merged.sum()).sqrt()


def capped_for_sum(rescale: Scale, sizes: UpdateNorms) -> Tensor:
    """λ where ΔW_3 is the weighted sum: no adapters that cancel are given back the norm that they have lost.

    A scale that gives a norm is at most `_MOST_REVIVED` times what it were if the updates had nothing in common, that
    is if ‖ΔW_3‖² were Σ w_i²‖UᵀΔW_iV‖².
    """
    strength = rescale(sizes)
    if not rescale.gives_norm:
        return strength
    apart = (sizes.weights.square() * sizes.retained).sum().sqrt().clamp_min(torch.finfo(strength.dtype).tiny)
    return strength * (_MOST_REVIVED * sizes.merged.sum().sqrt() / apart).clamp_max(1)
