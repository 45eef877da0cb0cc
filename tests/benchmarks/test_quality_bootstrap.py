"""The paired bootstrap against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from quality.bootstrap import Bootstrap

pytestmark = pytest.mark.benchmark

TASKS = {"a": "a", "b": "b", "b2": "b"}


def bits(rate: float, size: int = 400, seed: int = 0):
    """So many of them True, in random places."""
    return np.random.default_rng(seed).permutation(size) < rate * size


@pytest.fixture
def bootstrap():
    return Bootstrap(TASKS, 4000, 0)


def test_values_are_the_observed_ones(bootstrap):
    alone = {"a": bits(0.8), "b": bits(0.5)}
    merges = [{"a": bits(0.4, seed=1), "b": bits(0.4, seed=2)}, {"a": bits(0.6, seed=3), "b": bits(0.1, seed=4)}]
    scores = bootstrap.scores(merges, alone)
    assert bootstrap.estimate(scores.normalized).value == pytest.approx((0.5 + 0.8 + 0.75 + 0.2) / 4)
    assert bootstrap.estimate(scores.worst).value == pytest.approx((0.5 + 0.2) / 2)


def test_one_set_has_the_interval_of_a_ratio_of_means(bootstrap):
    own, merged = bits(0.8), bits(0.5, seed=1)
    found = bootstrap.estimate(bootstrap.scores([{"a": merged}], {"a": own}).normalized)
    ratio = merged.mean() / own.mean()
    deviation = np.std(merged - ratio * own) / own.mean() / np.sqrt(len(own))  # delta method
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * deviation, rel=0.05)


def test_sets_that_differ_widen_the_interval_by_their_spread(bootstrap):
    own = np.ones(400, bool)
    merges = [{"a": bits(rate)} for rate in np.linspace(0.2, 0.8, 10)]
    found = bootstrap.estimate(bootstrap.scores(merges, {"a": own}).normalized)
    deviation = np.hypot(np.std(np.linspace(0.2, 0.8, 10)) / np.sqrt(10), np.sqrt(0.2 / 400))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * deviation, rel=0.1)


def test_differences_are_paired(bootstrap):
    own, first = bits(0.8), bits(0.5, seed=1)
    second = first.copy()
    second[np.flatnonzero(~first)[:4]] = True  # four examples more
    tables = [bootstrap.scores([{"a": correct}], {"a": own}).normalized for correct in (first, second)]
    found = bootstrap.estimate(tables[1] - tables[0])
    assert found.value == pytest.approx(4 / own.sum())
    assert found.high - found.low < 0.5 * (bootstrap.estimate(tables[0]).high - bootstrap.estimate(tables[0]).low)


def test_variants_of_a_task_draw_the_same_examples(bootstrap):
    merged, own = bits(0.5, seed=1), bits(0.8)
    first, second = (bootstrap.scores([{name: merged}], {name: own}).normalized for name in ("b", "b2"))
    assert (first == second).all()
    assert (bootstrap.scores([{"a": merged}], {"a": own}).normalized != first).any()


def test_the_interval_of_the_worst_of_equal_tasks_lies_around_it(bootstrap):
    alone = {"a": np.ones(400, bool), "b": np.ones(400, bool)}
    found = bootstrap.estimate(bootstrap.scores([{"a": bits(0.5), "b": bits(0.5, seed=1)}], alone).worst)
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=0.005)  # replicates are lower by 0.014
    assert 0.03 < found.high - found.value < 0.05


def test_seeds_decide():
    tables = [Bootstrap(TASKS, 50, seed).scores([{"a": bits(0.5)}], {"a": bits(1)}).normalized for seed in (1, 1, 2)]
    assert (tables[0] == tables[1]).all()
    assert (tables[0] != tables[2]).any()
