"""Scales that give the merged adapter a norm: that of its inputs, or of what is left of them."""

from __future__ import annotations

from torch import Tensor

from lorafold.scales._registry import Sizes, scale


@scale("max_norm")
def max_norm(sizes: Sizes) -> Tensor:
    """λ‖ΔW_3‖ = max_i ‖ΔW_i‖: as strong as the strongest input, norms being those of whole adapters."""
    return (sizes.energies.max() / sizes.merged.sum()).sqrt()


@scale("mean_norm")
def mean_norm(sizes: Sizes) -> Tensor:
    """λ²‖ΔW_3‖² = Σ ŵ_i‖ΔW_i‖²: the mean energy of the inputs, summed over the modules."""
    return ((sizes.shares * sizes.inputs).sum() / sizes.merged.sum()).sqrt()


@scale("retained")
def retained(sizes: Sizes) -> Tensor:
    """λ²‖ΔW_3‖² = Σ ŵ_i‖UᵀΔW_iV‖²: the mean energy that the inputs have inside the merged subspaces.

    Below `mean_norm` by what the rank cuts off.
    """
    return ((sizes.shares * sizes.retained).sum() / sizes.merged.sum()).sqrt()
