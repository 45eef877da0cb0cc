"""The projection of M = Σ w_i ΔW_i."""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._registry import core_rule


@core_rule("sum", is_sum=True)
def weighted_sum(cores: Tensor, weights: Tensor) -> Tensor:
    """Σ w_i C_i: task arithmetic (Ilharco et al. 2023, equation 2), exact where the subspaces hold everything."""
    return (weights[..., None, None] * cores).sum(1)
