"""The null distribution of phi against simulation, exact special cases and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from lorafold.common.errors import LorafoldError
from lorafold.geometry import benjamini_hochberg, expected_phi, holm, phi, phi_p_value, phi_sd, phi_z_score

SIZES = {"square": (64, 8, 8), "unequal": (40, 3, 9), "meeting": (20, 12, 14), "half": (16, 8, 8), "lines": (12, 1, 1)}


def simulated_phi(haar, n, i, j, pairs):
    """One subspace may be fixed: only their relative position matters."""
    return phi(haar(pairs, n, i), torch.eye(n, j, dtype=torch.float64)).numpy()


@pytest.mark.parametrize(("n", "i", "j"), SIZES.values(), ids=SIZES)
def test_moments_agree_with_simulation(haar, n, i, j):
    sample = simulated_phi(haar, n, i, j, 4000)
    sd = float(phi_sd(n, i, j))
    assert sample.mean() == pytest.approx(float(expected_phi(n, i, j)), abs=4 * sd / np.sqrt(4000))
    kurtosis = stats.kurtosis(sample, fisher=False)
    assert sample.std() == pytest.approx(sd, rel=4 * np.sqrt((kurtosis - 1) / 4 / 4000))


@pytest.mark.parametrize(("n", "i", "j"), SIZES.values(), ids=SIZES)
def test_p_values_of_random_pairs_are_uniform(haar, n, i, j):
    p = phi_p_value(simulated_phi(haar, n, i, j, 2000), n, i, j)
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("b", [1, 4, 9])
def test_the_distribution_is_exact_for_a_line(b):
    """The squared cosine of a random line and a b-plane is Beta(b / 2, (n - b) / 2)."""
    values = np.linspace(0, 1, 11)
    assert float(phi_sd(12, 1, b)) == pytest.approx(stats.beta.std(b / 2, (12 - b) / 2), rel=1e-14)
    np.testing.assert_allclose(phi_p_value(values, 12, 1, b), stats.beta.sf(values, b / 2, (12 - b) / 2), atol=1e-14)


@pytest.mark.parametrize(("n", "i", "j"), [(20, 12, 14), (64, 8, 8), (10, 3, 9)])
def test_complements_are_equally_surprising(n, i, j):
    """T = i + j - n + T' pairs every phi with one of the complements."""
    values = expected_phi(n, i, j) + phi_sd(n, i, j) * np.linspace(-2, 4, 13)
    shifted = (values * min(i, j) - (i + j - n)) / min(n - i, n - j)
    np.testing.assert_allclose(phi_p_value(values, n, i, j), phi_p_value(shifted, n, n - i, n - j), rtol=1e-10)
    np.testing.assert_allclose(phi_z_score(values, n, i, j), phi_z_score(shifted, n, n - i, n - j), atol=1e-12)


def test_worked_example():
    """768-dimensional space, rank 16: phi = 0.05 against 0.0208 expected."""
    assert float(phi_z_score(0.05, 768, 16, 16)) == pytest.approx(16.2, abs=0.05)
    assert 0 < float(phi_p_value(0.05, 768, 16, 16)) < 1e-30  # far tails do not round to 0


@pytest.mark.parametrize(("n", "i", "j"), [(9, 9, 4), (9, 4, 9), (9, 9, 9), (1, 1, 1)])
def test_the_whole_space_says_nothing(n, i, j):
    assert float(expected_phi(n, i, j)) == 1
    assert float(phi_sd(n, i, j)) == 0
    assert float(phi_z_score(1.0, n, i, j)) == 0
    assert float(phi_p_value(1.0, n, i, j)) == 1


@pytest.mark.parametrize("value", [1.0, 1 + 1e-15])
def test_equal_subspaces_are_beyond_chance(value):
    assert float(phi_p_value(value, 64, 8, 8)) == 0


def test_arrays_broadcast_and_the_order_of_the_subspaces_does_not_matter():
    n, i, j = np.array([20, 64, 768]), np.array([[3], [8]]), np.array([12, 4, 16])
    values = np.full((2, 3), 0.4)
    for function in (phi_p_value, phi_z_score):
        together = function(values, n, i, j)
        alone = [[float(function(0.4, n[column], i[row, 0], j[column])) for column in range(3)] for row in range(2)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)
        np.testing.assert_array_equal(function(values, n, j, i), together)
    np.testing.assert_array_equal(expected_phi(n, i, j), np.maximum(i, j) / n)


@pytest.mark.parametrize(("i", "j"), [(0, 3), (3, 0), (11, 3), (3, 11)])
def test_dimensions_that_do_not_fit(i, j):
    with pytest.raises(LorafoldError, match="expected 1 <= i, j <= n"):
        expected_phi(10, i, j)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1, 1])


def test_benjamini_hochberg_agrees_with_scipy():
    p = np.random.default_rng(0).uniform(size=50) ** 2
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-14)


@pytest.mark.parametrize("correction", [holm, benjamini_hochberg])
def test_corrections_keep_the_order_and_never_lower_a_p_value(correction):
    p = np.random.default_rng(1).uniform(size=40) ** 3
    adjusted = correction(p)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    assert correction([0.02]).tolist() == [0.02]
    assert correction([]).size == 0


def test_holm_controls_the_family_wise_error():
    p = np.random.default_rng(2).uniform(size=(2000, 20))
    false_alarm = np.mean([(holm(row) <= 0.05).any() for row in p])
    assert false_alarm == pytest.approx(1 - 0.9975**20, abs=4 * np.sqrt(0.05 * 0.95 / 2000))
