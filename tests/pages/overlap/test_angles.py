"""The chance curve of principal angles: the sampler against Haar frames and closed forms, and its mixture."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import beta, ks_2samp, kstest

from lorafold.geometry import principal_angles
from lorafold.pages.overlap.angles import BIN, histogram, random_pair, representative
from lorafold.pages.overlap.random_angles import random_angles
from tests.builders import Source
from tests.builders import one_thread as one_thread

SIZES = [(96, 8, 8), (40, 12, 4), (20, 3, 5), (20, 12, 14), (7, 5, 5)]


def sampled(n, i, j, draws):
    return random_angles(n, i, j, draws, np.random.default_rng(0))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_angles_are_distributed_as_those_of_haar_frames(size):
    n, i, j = size
    source, draws = Source(1), 600
    frames = principal_angles(source.haar(draws, n, i), source.haar(draws, n, j))
    dense, own = torch.sort(frames, dim=-1)[0].numpy(), sampled(n, i, j, draws)
    assert own.shape == dense.shape
    shared = max(i + j - n, 0)
    assert np.abs(own[:, :shared]).max(initial=0) == 0
    for number in range(shared, min(i, j)):
        assert ks_2samp(own[:, number], dense[:, number]).pvalue > 1e-3


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_mean_squared_cosine_is_the_chance_level_of_phi(size):
    n, i, j = size
    phi = (np.cos(sampled(n, i, j, 4000)) ** 2).mean(axis=1)
    assert phi.mean() == pytest.approx(max(i, j) / n, abs=4 * phi.std() / np.sqrt(4000) + 1e-12)


def test_one_angle_is_a_beta_variable():
    squared = np.cos(sampled(30, 1, 7, 4000)[:, 0]) ** 2
    assert kstest(squared, beta(7 / 2, 23 / 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("size", [(4, 4, 2), (3, 3, 3), (1, 1, 1)], ids=str)
def test_a_whole_space_contains_everything(size):
    assert sampled(*size, 5).max() == 0


def test_angles_ascend_in_the_right_range():
    angles = sampled(64, 16, 24, 50)
    assert (np.diff(angles, axis=1) >= 0).all()
    assert 0 <= angles.min() < angles.max() <= np.pi / 2


def test_a_random_pair_lies_in_its_band_nine_times_out_of_ten():
    pair = random_pair(50, 6, 9)
    other = np.rad2deg(random_angles(50, 6, 9, 4000, np.random.default_rng(5)))
    inside = (pair.low <= other) & (other <= pair.high)
    np.testing.assert_allclose(inside.mean(axis=0), 0.9, atol=0.03)


def test_shares_add_up_and_modules_count_by_their_angles():
    one, two = (40, 2, 3), (12, 6, 6)
    modules = [(one, [0.1, 0.2]), (two, [1.5] * 6), (one, [0.1, np.pi / 2])]
    result = histogram(modules)
    assert (result["angles"], len(result["found"])) == (10, 90 / BIN)
    assert sum(result["found"]) == pytest.approx(1)
    assert result["found"][int(np.rad2deg(0.1) // BIN)] == pytest.approx(0.2)
    assert result["found"][-1] == pytest.approx(0.1)  # 90° itself is in the last bin
    expected = (4 * random_pair(*one).shares + 6 * random_pair(*two).shares) / 10
    np.testing.assert_allclose(result["random"], expected, rtol=1e-12)


def test_no_angles_no_histogram():
    assert histogram([]) is None


def test_many_different_sizes_are_thinned_out_evenly():
    few = [((100, i, 3), [0.0]) for i in (1, 2, 2)]
    assert representative(few) == Counter({(100, 1, 3): 1, (100, 2, 3): 2})
    chosen = representative([((1000, i, 3), [0.0]) for i in range(1, 501)])
    assert chosen.total() == len(chosen) == 32
    assert min(chosen)[1] == 1
    assert max(chosen)[1] == 500
    assert np.mean([i for _, i, _ in chosen]) == pytest.approx(250, abs=5)
