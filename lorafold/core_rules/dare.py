"""DARE: drop entries at random and rescale the rest."""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._checks import check_density
from lorafold.core_rules._prune import drop
from lorafold.core_rules._registry import core_rule


@core_rule("dare", elementwise=True, random=True, check=check_density)
def dare(cores: Tensor, weights: Tensor, *, noise: Tensor, density: float) -> Tensor:
    """Σ w_i M_i ∘ C_i / d, every entry of M_i being 1 with probability d and else 0; its expectation is Σ w_iC_i.

    Source: Yu et al., "Language Models are Super Mario", ICML 2024, equation 1, with d = 1 - p.
    """
    return (weights[..., None, None] * drop(cores, noise, density)).sum(1)
