"""DELLA: drop entries at random, small ones more often, then the sign election of TIES."""

from __future__ import annotations

from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.core_rules._prune import drop
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._sign_election import disjoint_mean
from lorafold.core_rules.ties import check_election


def _check(*, density: float, epsilon: float, elect: str) -> None:
    check_election(density=density, elect=elect)
    if not (0 <= epsilon < density and density + epsilon <= 1):
        raise LorafoldError(
            f"core.epsilon={epsilon!r} with core.density={density!r}, expected a number >= 0 that leaves every "
            "probability density - epsilon ... density + epsilon above 0 and at most 1",
            remedy="Choose a smaller epsilon.",
        )


@core_rule("della", elementwise=True, random=True, averages=True, check=_check)
def della(cores: Tensor, weights: Tensor, *, noise: Tensor, density: float, epsilon: float, elect: str) -> Tensor:
    """The disjoint mean of M_i ∘ C_i / p, M_i being 1 with probability p = d - ε + 2 ε ρ.

    ρ in [0, 1] is the rank of an entry's magnitude within its row, 0 for the smallest and 1 for the largest.

    Source: Deep, Bhardwaj & Poria, "DELLA-Merging", arXiv:2406.11617, section 3 (MagPrune); mergekit's `della`, which
    matches the L1 norm where this divides by p, as the paper does.
    """
    keep = density + epsilon * (2 * _standing(cores) - 1)
    return disjoint_mean(drop(cores, noise, keep), weights, elect)


def _standing(cores: Tensor) -> Tensor:
    """ρ; a row of one entry has ρ = 1/2.  (b, N, r, r)"""
    last = cores.shape[-1] - 1
    place = cores.abs().argsort(dim=-1, stable=True).argsort(dim=-1).to(cores.dtype)
    return place / last if last else place + 0.5
