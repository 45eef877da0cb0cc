"""dc_merge: the authors' steps in full space, and limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from tests.builders import Source, random_adapter
from tests.core_rules.applying import bound
from tests.core_rules.entry_oracles import elected_mean, top
from tests.core_rules.full_space import cases, full
from tests.core_rules.spectral_oracles import polar, svd

OPTIONS = [(smooth, density) for smooth in ("flat", "linear") for density in (None, 0.02, 0.3)]
WEIGHTS = {"equal": [1.0] * 3, "unequal": [0.7, 0.2, 0.5], "signed": [1.0, -0.4, 0.6]}
# Where singular values or entries coincide the answer is not determined.
CASES = {name: case for name, case in cases().items() if name != "of full rank"}


def oracle(updates, weights, smooth, density):
    """Smoothed spectra, cover bases, entries above the threshold, their elected mean on the blocks, back."""
    parts = [svd(update) for update in updates]
    U, V = polar(np.concatenate([U for U, _, _ in parts], 1)), polar(np.concatenate([Vt for _, _, Vt in parts]).T)
    ranks, entries = [len(s) for _, s, _ in parts], []
    for left, s, right in parts:
        ratio = 1.0 if smooth == "flat" else min(5.0, s[0] / s[-1])
        ramp = np.linspace(ratio, 1.0, len(s))
        M = U.T @ left @ np.diag(s.sum() * ramp / ramp.sum()) @ right @ V
        entries.append(M * top(M, len(s) if density is None else max(1, int(density * M.size + 1e-9))))
    merged, ends = elected_mean(entries, weights, "weighted"), np.cumsum([0, *ranks])
    blocks = np.zeros_like(merged)
    for start, end in pairwise(ends):
        blocks[start:end, start:end] = merged[start:end, start:end]
    return U @ blocks @ V.T


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize(("smooth", "density"), OPTIONS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_authors_steps_in_full_space(case, smooth, density, weights):
    options = {"smooth": smooth, "density": density}
    found, expected = case.merged(bound("dc_merge", **options), weights), case.expected(oracle, weights, **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_adapters_of_orthogonal_rows_and_columns_are_their_level_selves_together():
    s = Source(2)
    P, Q = s.haar(14, 6), s.haar(12, 6)
    one, other = (P[:, i : i + 3] @ s.conditioned(3, 3, 9.0) @ Q[:, i : i + 3].T for i in (0, 3))
    found = full([one, other]).merged(bound("dc_merge"), [1.0, 1.0])
    level = [np.mean(np.linalg.svd(X)[1][:3]) * polar(X.numpy()) for X in (one, other)]
    np.testing.assert_allclose(found, sum(level), rtol=0, atol=1e-9)


def test_a_spectrum_that_is_level_already_stays_and_of_an_adapter_given_twice_half_is_left():
    s = Source(3)
    flat = s.haar(14, 3) @ s.haar(12, 3).T
    rule = bound("dc_merge", density=1.0)
    np.testing.assert_allclose(full([flat]).merged(rule, [1.0]), flat, rtol=0, atol=1e-9)
    np.testing.assert_allclose(full([flat, flat]).merged(rule, [1.0, 1.0]), flat / 2, rtol=0, atol=1e-9)


def test_a_merge_at_the_rank_of_all_together():
    adapters = [random_adapter("kohya", {"a": (9, 12), "b": (11, 7)}, rank, seed=rank) for rank in (2, 3)]
    merged = lorafold.merge(adapters, weights="sum", rank="max", core="dc_merge")
    assert {name: module.rank for name, module in merged.adapter.modules.items()} == {"a": 5, "b": 5}


@pytest.mark.parametrize(
    ("option", "words"), [({"smooth": "avg"}, "core.smooth='avg'"), ({"density": 0.0}, "density=0")]
)
def test_what_it_does_not_know_is_refused(option, words):
    with pytest.raises(LorafoldError, match=words):
        bound("dc_merge", **option)


def test_an_empty_module_is_empty():
    assert not bound("dc_merge")(torch.zeros(2, 3, 4, 4).double(), torch.ones(2, 3).double()).any()
