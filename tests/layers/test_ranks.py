"""How many singular values are kept: against counting by hand, and the shared budget against every allocation."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from lorafold.layers.ranks import budget_ranks, energy_ranks, ratio_ranks
from tests.builders import one_thread as one_thread

SIGMA = torch.tensor([[4.0, 2.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0] * 4, [3.0, 1e-3, 0.0, 0.0]]).double()


@pytest.mark.parametrize(
    ("energy", "ranks"),
    [(1e-9, [1, 1, 1, 1]), (16 / 21, [1, 4, 1, 1]), (0.5, [1, 2, 1, 1]), (0.75, [1, 3, 1, 1]), (1.0, [3, 4, 1, 2])],
)
def test_the_fewest_that_hold_the_energy(energy, ranks):
    assert energy_ranks(SIGMA, energy).tolist() == ranks


@pytest.mark.parametrize(("ratio", "ranks"), [(1.0, [1, 4, 1, 1]), (0.5, [2, 4, 1, 1]), (1e-9, [3, 4, 1, 2])])
def test_those_not_below_the_largest_times_the_ratio(ratio, ranks):
    assert ratio_ranks(SIGMA, ratio).tolist() == ranks


def kept(sigma, ranks):
    return sum(float(row[:k].square().sum()) for row, k in zip(sigma, ranks, strict=True))


def best(sigma, costs, budget, most):
    """The most energy of any allocation, and each within the budget that reaches it."""
    choices = product(range(1, most + 1), repeat=len(sigma))
    fitting = [ranks for ranks in choices if sum(k * c for k, c in zip(ranks, costs, strict=True)) <= budget]
    return max(kept(sigma, ranks) for ranks in fitting)


def problem(seed, costs, columns=4):
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.rand(len(costs), columns, generator=generator, dtype=torch.float64) ** 3
    return sigma.sort(descending=True).values, torch.tensor(costs)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("budget", [40, 55, 90, 120, 160, 1000])
def test_of_modules_of_one_size_the_optimum(seed, budget):
    sigma, costs = problem(seed, [10, 10, 10, 10])
    ranks = budget_ranks(sigma, costs, budget).tolist()
    assert 10 * sum(ranks) <= budget
    assert math.isclose(kept(sigma, ranks), best(sigma, [10] * 4, budget, 4), rel_tol=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("budget", [37, 50, 71, 100, 148])
def test_of_modules_of_several_sizes_less_than_one_singular_value_below_it(seed, budget):
    """And nowhere above the bound, which the first one that does not fit gives."""
    sizes = [3, 7, 12, 15]
    sigma, costs = problem(seed, sizes)
    ranks = budget_ranks(sigma, costs, budget).tolist()
    found, optimum = kept(sigma, ranks), best(sigma, sizes, budget, 4)
    assert sum(k * c for k, c in zip(ranks, sizes, strict=True)) <= budget
    assert found <= optimum * (1 + 1e-12)
    dropped = [float(row[k]) ** 2 for row, k in zip(sigma, ranks, strict=True) if k < 4]
    assert optimum - found < max(dropped, default=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_where_the_best_buys_use_up_the_budget_the_optimum(seed):
    sizes = [3, 7, 12, 15]
    sigma, costs = problem(seed, sizes)
    density = (sigma[:, 1:].square() / costs[:, None]).flatten()
    for count in range(density.numel() + 1):
        bought = density.argsort(descending=True)[:count] // 3
        budget = int(costs.sum() + costs[bought].sum())
        ranks = budget_ranks(sigma, costs, budget)
        assert int((ranks * costs).sum()) == budget
        assert math.isclose(kept(sigma, ranks.tolist()), best(sigma, sizes, budget, 4), rel_tol=1e-12)


def test_rank_goes_where_it_buys_most():
    """The second module has the same singular values but costs ten times as much."""
    sigma = torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]], dtype=torch.float64)
    assert budget_ranks(sigma, torch.tensor([10, 100]), 130).tolist() == [3, 1]


def test_nothing_is_bought_past_the_numerical_rank_nor_past_the_limit():
    costs = torch.tensor([1, 1, 1, 1])
    assert budget_ranks(SIGMA, costs, 1000).tolist() == [3, 4, 1, 2]
    assert budget_ranks(SIGMA, costs, 1000, 2).tolist() == [2, 2, 1, 2]
    assert budget_ranks(SIGMA, costs, 1000, 1).tolist() == [1, 1, 1, 1]
    assert budget_ranks(SIGMA[:, :1], costs, 1000).tolist() == [1, 1, 1, 1]
