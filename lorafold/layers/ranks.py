"""How many singular values each module keeps.

M = modules, r = largest rank; σ (M, r) descending, zero past the numerical rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Of a share that is asked for: what rounding does to a sum of squares.
_ROUNDING = 1e-12


def energy_ranks(sigma: Tensor, energy: float) -> Tensor:
    """The fewest that hold a share `energy` of Σσ², in every module.  (M,)"""
    squares = sigma.square()
    needed = energy * (1 - _ROUNDING) * squares.sum(-1, keepdim=True)
    return _at_least_one((squares.cumsum(-1) < needed).sum(-1) + 1, sigma)


def ratio_ranks(sigma: Tensor, ratio: float) -> Tensor:
    """Those not below `ratio` times the largest, in every module.  (M,)"""
    return _at_least_one((sigma >= ratio * (1 - _ROUNDING) * sigma[:, :1]).sum(-1), sigma)


def budget_ranks(sigma: Tensor, costs: Tensor, budget: int, most: int | None = None) -> Tensor:
    """The most energy that `budget` parameters buy, one singular value of every module at the least.  (M,)

    A knapsack: σ_j of a module is worth σ_j² and costs m + n. Taken in the order of σ² / (m + n), they are the optimum
    as long as they fit (Dantzig 1957: of the relaxed problem, where the first that does not fit is taken in part); what
    remains goes to later ones that do fit. So less is lost than that one value was worth. A module's values cost the
    same and come in order, so each is bought before the next.

    Args:
        costs: m + n (M,), whole numbers.
        budget: at least Σ costs.
        most: values of a module, if there is such a limit.
    """
    worth = sigma[:, 1:most].square()
    ranks, left = torch.ones(len(sigma), dtype=torch.int64), budget - int(costs.sum())
    order = (worth / costs[:, None]).flatten().argsort(descending=True, stable=True)
    order = order[worth.flatten()[order] > 0]
    for module in (order // max(1, worth.shape[1])).tolist():
        cost = int(costs[module])
        if cost <= left:
            ranks[module] += 1
            left -= cost
    return ranks


def _at_least_one(ranks: Tensor, sigma: Tensor) -> Tensor:
    """No format can hold a module of rank 0, and past the numerical rank there is nothing to keep."""
    return torch.minimum(ranks, (sigma > 0).sum(-1)).clamp_min(1)
