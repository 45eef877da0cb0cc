"""The empirical null: p-values of exchangeable pairs are uniform, alone and family-wise; small n decides nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from lorafold.pipelines.compare.null import Draws, null_of, smallest_n, smallest_panel


def null(phi, least=1e-3, alpha=0.05):
    """Of φ (1 + n, s, M)."""
    phi = np.asarray(phi, dtype=float)
    return null_of(Draws(phi, np.ones((2, phi.shape[2]), dtype=np.int64)), np.full(phi.shape[1:], least), alpha)


def exchangeable(random, adapters, modules=12):
    """Overlaps of all pairs of adapters, of modules that depend on each other, skewed, each on a scale of its own."""
    own = random.exponential(size=(adapters, 2, modules)) + random.exponential(size=(adapters, 1, 1))
    pairs = [own[i] * own[j] + random.exponential(size=(2, modules)) for i, j in combinations(range(adapters), 2)]
    return 0.01 * np.arange(1, modules + 1) * np.array(pairs)


def uniform_on_the_grid(p, n):
    """The counts of 1 / (1 + n), 2 / (1 + n), ... are those of a fair die; at three standard errors of χ²."""
    counts = np.bincount(np.rint(np.asarray(p) * (1 + n)).astype(int), minlength=n + 2)[1:]
    return stats.chisquare(counts).pvalue > 0.003


@pytest.mark.parametrize("adapters", [3, 5], ids="{} adapters".format)
def test_p_values_of_exchangeable_adapters_are_uniform(adapters):
    """The first pair is like any other, so that its rank is each of 1 .. n + 1 with equal probability."""
    random, n = np.random.default_rng(0), adapters * (adapters - 1) // 2 - 1
    nulls = [null(exchangeable(random, adapters)) for _ in range(600)]
    assert uniform_on_the_grid([each.p[0, 3] for each in nulls], n)
    assert uniform_on_the_grid([each.p[1, 7] for each in nulls], n)
    assert uniform_on_the_grid([each.mean_p[0] for each in nulls], n)


def test_the_smallest_adjusted_p_value_of_all_modules_and_sides_is_uniform_too():
    """That is the family-wise error rate: the pair has the largest effect of any in 1 of n + 1 cases."""
    random = np.random.default_rng(7)
    smallest = [null(exchangeable(random, 5), alpha=0.1).p_adjusted.min() for _ in range(600)]
    assert uniform_on_the_grid(smallest, 9)
    assert np.mean(np.array(smallest) <= 0.1) == pytest.approx(0.1, abs=3 * np.sqrt(0.1 * 0.9 / 600))


def test_effects_against_a_loop():
    """Median and spread are those of the others, whichever the draw."""
    phi = exchangeable(np.random.default_rng(2), 4)
    found = null(phi, least=0.05)
    for side in range(2):
        for module in range(phi.shape[2]):
            others = phi[1:, side, module]
            median, above = np.quantile(others, [0.5, 0.8413])
            assert found.median[side, module] == pytest.approx(median, rel=1e-12)
            assert found.spread[side, module] == pytest.approx(max(above - median, 0.05), rel=1e-12)
            assert found.effect[side, module] == pytest.approx(
                (phi[0, side, module] - median) / max(above - median, 0.05)
            )
            assert found.p[side, module] == (1 + (others >= phi[0, side, module]).sum()) / 6
    np.testing.assert_allclose(found.mean_effect, found.effect.mean(1), rtol=1e-12)


def test_the_order_of_the_draws_does_not_matter():
    random = np.random.default_rng(3)
    phi = exchangeable(random, 5)
    phi[4, :, 2] = np.nan
    one, other = (null(draws, alpha=0.2) for draws in (phi, phi[[0, *(1 + random.permutation(9))]]))
    for name in ("draws", "median", "spread", "effect", "p", "p_adjusted", "mean_effect", "mean_p"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-12)


def test_ties_count_against_the_pair():
    phi = np.full((21, 2, 3), 0.25)
    assert np.all(null(phi).p == 1) and np.all(null(phi).p_adjusted == 1) and np.all(null(phi).mean_p == 1)
    phi[0, 0] = 0.5
    found = null(phi)
    np.testing.assert_allclose(found.p, [[1 / 21] * 3, [1] * 3])
    np.testing.assert_allclose(found.p_adjusted, [[1 / 21] * 3, [1] * 3])
    np.testing.assert_allclose(found.effect, [[250] * 3, [0] * 3])  # in units of the spread of random subspaces
    np.testing.assert_allclose(found.mean_p, [1 / 21, 1])


@pytest.mark.parametrize("n", [0, 1, 18])
def test_too_few_draws_decide_nothing(n):
    phi = np.random.default_rng(n).uniform(size=(1 + n, 2, 4))
    phi[0] = 2
    found = null(phi)
    assert np.isnan(found.p_adjusted).all()
    assert np.all(found.draws == n)
    if n:
        np.testing.assert_allclose(found.p, 1 / (1 + n))
    else:
        assert np.isnan([found.p, found.median, found.effect]).all() and np.isnan(found.mean_p).all()


def test_modules_that_draws_lack_are_a_family_of_their_own():
    """With 40 draws and with 39, p is doubled; a family of 10 cannot reach alpha, and is left out beforehand."""
    phi = np.random.default_rng(4).uniform(0.1, 0.2, size=(41, 2, 6))
    phi[0] = 0.9
    phi[40:, :, 2:4] = np.nan
    phi[11:, :, 4] = np.nan
    phi[:, :, 5] = np.nan
    phi[0, 0, 0] = np.nan  # not there: not tested
    found = null(phi)
    assert found.draws.tolist() == [[0, 40, 39, 39, 10, 0], [40, 40, 39, 39, 10, 0]]
    np.testing.assert_allclose(found.p_adjusted[:, 1:4], [[2 / 41, 2 / 40, 2 / 40]] * 2)
    assert np.isnan(found.p_adjusted[:, 4:]).all() and np.isnan(found.effect[:, 5]).all()
    np.testing.assert_allclose(found.p[:, 4], 1 / 11)
    np.testing.assert_allclose(found.mean_p, 1 / 41)


def test_what_cannot_vary_is_not_tested():
    phi = np.ones((30, 2, 2)) + 1e-8 * np.random.default_rng(5).normal(size=(30, 2, 2))
    found = null(phi, least=0)
    assert np.isnan(found.p).all() and np.isnan(found.p_adjusted).all() and np.all(found.draws == 0)


@pytest.mark.parametrize(
    ("alpha", "n", "panel"), [(0.05, 19, 5), (0.1, 9, 3), (0.01, 99, 13), (0.5, 1, 1), (0.9, 1, 1)]
)
def test_how_many_it_takes(alpha, n, panel):
    assert (smallest_n(alpha), smallest_panel(alpha)) == (n, panel)
