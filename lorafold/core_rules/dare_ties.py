"""DARE, then the sign election of TIES."""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._prune import drop
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._sign_election import disjoint_mean
from lorafold.core_rules.ties import check_election


@core_rule("dare_ties", elementwise=True, random=True, averages=True, check=check_election)
def dare_ties(cores: Tensor, weights: Tensor, *, noise: Tensor, density: float, elect: str) -> Tensor:
    """The disjoint mean of M_i ∘ C_i / d; dropping takes the place of the trim.

    Source: PEFT and mergekit, `dare_ties`, after Yu et al., ICML 2024, and Yadav et al., NeurIPS 2023.
    """
    return disjoint_mean(drop(cores, noise, density), weights, elect)
