"""np_lora: the minimiser that its formula is, in full space, and its two ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lorafold
from lorafold.common.errors import LorafoldError
from tests.builders import Source, random_adapter
from tests.core_rules.applying import bound
from tests.core_rules.full_space import full, low_rank
from tests.oracles import relative, updates

S = Source(6)
SUBJECT, STYLE = low_rank(S, 3), low_rank(S, 4)
CASES = {
    "apart": (SUBJECT, STYLE),
    "of other norms": (1e3 * SUBJECT, STYLE),
    "half shared": (SUBJECT + STYLE, STYLE),
    "style of full rank": (SUBJECT, low_rank(S, 12)),
    "no subject": (0 * SUBJECT, STYLE),
    "no style": (SUBJECT, 0 * STYLE),
}


def least_squares(subject, style, mu):
    """argmin ‖X - X_1‖² + μ‖X V‖², a row at a time, V spanning the rows of the style; and the style."""
    _, s, Vt = np.linalg.svd(style)
    V = Vt[: int((s > 1e-9 * max(s[0], 1e-300)).sum())].T
    system = np.concatenate([np.eye(len(Vt)), np.sqrt(mu) * V.T])
    right = np.concatenate([subject.T, np.zeros((V.shape[1], len(subject)))])
    return np.linalg.lstsq(system, right, rcond=None)[0].T + style


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.7, -0.2], [0.0, 1.0], [1.0, 0.0]], ids=str)
@pytest.mark.parametrize("mu", [0.5, 3.0])
def test_the_regularised_problem_in_full_space(case, weights, mu):
    subject, style = (w * X.numpy() for w, X in zip(weights, case, strict=True))
    found, expected = full(case).merged(bound("np_lora", mu=mu), weights), least_squares(subject, style, mu)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))


def test_the_ends_are_the_sum_and_a_subject_that_the_style_does_not_read():
    case = full((SUBJECT, STYLE))
    np.testing.assert_allclose(case.merged(bound("np_lora", mu=0.0), [1, 1]), SUBJECT + STYLE, rtol=0, atol=1e-12)
    hard = case.merged(bound("np_lora", mu=math.inf), [1, 1])
    np.testing.assert_allclose((hard - STYLE.numpy()) @ STYLE.numpy().T, 0, atol=1e-11)
    np.testing.assert_allclose(case.merged(bound("np_lora", mu=1e12), [1, 1]), hard, rtol=0, atol=1e-9)
    twice = full((STYLE, STYLE)).merged(bound("np_lora", mu=math.inf), [1, 1])
    np.testing.assert_allclose(twice, STYLE, rtol=0, atol=1e-12)


def test_a_merge_takes_the_second_adapter_for_the_style():
    shapes = {"a": (9, 12), "b": (11, 7)}
    adapters = [random_adapter("kohya", shapes, rank, seed=rank) for rank in (2, 3)]
    merged = lorafold.merge(adapters, weights="sum", rank="max", core={"name": "np_lora", "mu": 2.0})
    for name, update in updates(merged.adapter).items():
        subject, style = (updates(adapter)[name] for adapter in adapters)
        expected = update.new_tensor(least_squares(subject.numpy(), style.numpy(), 2.0))
        assert relative(update, expected) < 1e-6


def test_three_adapters_and_a_negative_mu_are_refused():
    adapters = [random_adapter("kohya", {"a": (9, 12)}, 2, seed=seed) for seed in range(3)]
    with pytest.raises(LorafoldError, match="3 adapters, but core=np_lora takes 2"):
        lorafold.merge(adapters, core="np_lora")
    with pytest.raises(LorafoldError, match=r"core\.mu=-1\.0, expected a number >= 0"):
        lorafold.merge(adapters[:2], core={"name": "np_lora", "mu": -1.0})
