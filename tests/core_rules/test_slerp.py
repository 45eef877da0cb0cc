"""slerp: its formula, and its ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from tests.builders import Source, random_adapter
from tests.core_rules.applying import bound
from tests.core_rules.full_space import full, low_rank
from tests.core_rules.spectral_oracles import slerp
from tests.oracles import updates

RULE = bound("slerp")
S = Source(6)
A, B = low_rank(S, 3), low_rank(S, 4)
PAIRS = {
    "independent": (A, B),
    "nearly parallel": (A, 2 * A + 1e-3 * B),
    "nearly opposite": (A, -A + 1e-3 * B),
    "just off parallel": (A, A + 0.05 * B),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("weights", [[0.5, 0.5], [1.0, 3.0], [0.7, -0.2], [-1.0, -1.0]], ids=str)
def test_the_formula_in_full_space(pair, weights):
    case = full(pair)
    np.testing.assert_allclose(case.merged(RULE, weights), case.expected(slerp, weights), rtol=0, atol=1e-12)


def test_two_updates_of_one_norm_keep_it_all_the_way():
    cores = Source(1).normal(1, 2, 5, 5)
    cores = cores / torch.linalg.matrix_norm(cores, keepdim=True)
    for t in (0.0, 0.1, 0.5, 0.9, 1.0):
        merged = RULE(cores, torch.tensor([[1 - t, t]], dtype=torch.float64))
        assert float(torch.linalg.matrix_norm(merged)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("first", "weights"), [(0.0, [0.5, 0.5]), (1.0, [0.0, 0.5])], ids=["absent", "weight 0"])
def test_the_other_alone_is_itself(first, weights):
    cores = Source(1).normal(1, 2, 5, 5) * torch.tensor([first, 1.0])[:, None, None]
    merged = RULE(cores, torch.tensor([weights], dtype=torch.float64))
    torch.testing.assert_close(merged, cores[:, 1], rtol=0, atol=1e-15)


def test_a_merge():
    shapes = {"a": (9, 12), "b": (11, 7)}
    adapters = [random_adapter("kohya", shapes, rank, seed=rank) for rank in (2, 3)]
    merged = lorafold.merge(adapters, weights=[1.0, 2.0], rank="max", core="slerp")
    for name, update in updates(merged.adapter).items():
        expected = slerp([updates(one)[name].numpy() for one in adapters], [1.0, 2.0])
        np.testing.assert_allclose(update.numpy(), expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_three_adapters_are_refused():
    adapters = [random_adapter("kohya", {"a": (9, 12)}, 2, seed=seed) for seed in range(3)]
    with pytest.raises(LorafoldError, match="karcher"):
        lorafold.merge(adapters, rank="max", core="slerp")
