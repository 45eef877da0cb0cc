"""The weighted mean of the projected updates."""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_rules._registry import core_rule


@core_rule("mean", averages=True)
def weighted_mean(cores: Tensor, weights: Tensor) -> Tensor:
    """Σ w_i C_i / Σ |w_i|: an adapter that lacks the module counts with a zero update."""
    total = weights.abs().sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return ((weights / total)[..., None, None] * cores).sum(1)
