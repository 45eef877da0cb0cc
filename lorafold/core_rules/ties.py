"""TIES: trim, elect a sign per entry, average what agrees with it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lorafold.core_rules._checks import check_density, check_word
from lorafold.core_rules._prune import trim
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._sign_election import ELECTIONS, disjoint_mean


def check_election(*, density: float, elect: str, **_: Any) -> None:
    """Raise LorafoldError for a density or a kind of election that does not exist."""
    check_density(density=density)
    check_word("elect", elect, ELECTIONS)


@core_rule("ties", elementwise=True, averages=True, check=check_election)
def ties(cores: Tensor, weights: Tensor, *, density: float, elect: str) -> Tensor:
    """The disjoint mean of trim_d(C_i); each module is trimmed by itself, and λ of the paper is the global `scale`.

    Source: Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", NeurIPS 2023, algorithm 1.
    """
    return disjoint_mean(trim(cores, density), weights, elect)
