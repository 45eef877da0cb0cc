"""scale=svc: the paper's equations on full matrices after several rules, and what a calibrated merge promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from tests.builders import random_adapter
from tests.oracles import relative, truncations, updates

SHAPES = {"a": (20, 15), "b": (14, 30)}


def trio() -> list[lorafold.Adapter]:
    return [random_adapter("kohya", SHAPES, r, seed=r, scale=s) for r, s in ((4, 0.5), (3, 1.0), (5, 2.0))]


def calibrated(merged, deltas, signs, shares, alpha=0.1):
    """Direction by direction."""
    U, s, Vt = np.linalg.svd(merged, full_matrices=False)
    for j in range(len(s)):
        row, divisor = U[:, j] @ merged, 0.0
        for delta, sign, share in zip(deltas, signs, shares, strict=True):
            own = U[:, j] @ delta
            divisor += share * max(alpha, sign * (row @ own) / (own @ own))
        s[j] /= divisor
    return torch.from_numpy(U @ np.diag(s) @ Vt)


def dense(adapters, name):
    return [updates(adapter)[name].numpy() for adapter in adapters]


@pytest.mark.parametrize(
    "core", ["sum", "mean", "tsv", "wudi", {"name": "ties", "density": 0.5}, "knots_ties"], ids=str
)
def test_the_papers_equations_after_a_rule(core):
    """At equal weights: T / Σ max(α, s)."""
    given = {"weights": "sum", "core": core, "rank": "max"}
    plain = updates(lorafold.merge(trio(), **given).adapter)
    found = updates(lorafold.merge(trio(), scale="svc", **given).adapter)
    for name in SHAPES:
        rank = int(np.linalg.matrix_rank(plain[name].numpy(), tol=1e-6))
        expected = calibrated(truncations(plain[name], [rank])[0].numpy(), dense(trio(), name), [1] * 3, [1 / 3] * 3)
        assert relative(found[name], truncations(expected, [rank])[0]) < 1e-6


def test_signed_weights_and_a_rank_below_that_of_the_subspaces():
    """It comes before the cut, which then keeps what is strongest after it."""
    weights, given = [0.7, -0.2, 0.5], {"core": "sum", "core_rank": "max"}
    plain = updates(lorafold.merge(trio(), weights=weights, rank="max", **given).adapter)
    found = updates(lorafold.merge(trio(), weights=weights, rank=4, scale="svc", **given).adapter)
    for name in SHAPES:
        shares = [0.5, 1 / 7, 5 / 14]
        expected = calibrated(plain[name].numpy(), dense(trio(), name), [1, -1, 1], shares)
        assert relative(found[name], truncations(truncations(expected, [12])[0], [4])[0]) < 1e-6


def test_what_is_there_once_or_several_times_comes_out_once():
    one = trio()[0]
    for adapters in ([one], [one, one], [one, one, one]):
        found = updates(lorafold.merge(adapters, core="sum", weights="sum", scale="svc", rank="max").adapter)
        assert all(relative(found[name], updates(one)[name]) < 1e-6 for name in SHAPES)
    apart = [random_adapter("kohya", {name: SHAPES[name]}, 3, seed=7) for name in SHAPES]
    found = updates(lorafold.merge(apart, core="mean", scale="svc", rank="max").adapter)
    for name, adapter in zip(SHAPES, apart, strict=True):
        assert relative(found[name], updates(adapter)[name]) < 1e-6
    opposite = lorafold.merge([one, one], weights=[1.0, -1.0], core="sum", scale="svc").adapter
    assert not any(delta.any() for delta in updates(opposite).values())


@pytest.mark.parametrize("size", [0.0, 1e-12])
def test_an_adapter_of_hardly_any_size_changes_nothing(size):
    given = {"core": "sum", "weights": "sum", "scale": "svc", "rank": 8}
    faint = random_adapter("kohya", SHAPES, 3, seed=9, scale=size)
    two, three = (updates(lorafold.merge(those, **given).adapter) for those in (trio()[:2], [*trio()[:2], faint]))
    assert all(relative(three[name], two[name]) < 1e-6 for name in SHAPES)


def test_the_size_of_the_weights_counts_only_below_alpha():
    one, five = (
        updates(lorafold.merge([trio()[0]] * 2, core="sum", weights=[w, w], scale="svc", rank="max").adapter)
        for w in (1.0, 5.0)
    )
    assert all(relative(five[name], one[name]) < 1e-6 for name in SHAPES)


def test_a_scale_of_no_such_name_is_refused():
    with pytest.raises(LorafoldError, match=r"scale='svd', expected .*, svc, target\. .*Did you mean 'svc'"):
        lorafold.merge(trio(), scale="svd")
