"""quotient: the minimum that BFGS finds in full space, the closed form for equal singular vectors, and limits."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import lorafold
import lorafold.core_rules.quotient as module
from tests.builders import Source, random_adapter
from tests.core_rules.applying import bound
from tests.core_rules.full_space import M, full, low_rank
from tests.oracles import relative, updates

RULE = bound("quotient")


def points(deltas, weights, k):
    """[U S^½; V S^½] of k columns, -U for a negative weight."""
    for X, w in zip(deltas, weights, strict=True):
        U, s, Vt = np.linalg.svd(X)
        root = np.sqrt(s[:k] * (s[:k] > 1e-9 * s[0]))
        yield np.concatenate([np.sign(w) * U[:, :k] * root, Vt[:k].T * root])


def spread(W, own, shares):
    """Σ ŵ_i min_O ‖W - W_iO‖², with the nuclear norm in place of the best O."""
    return sum(
        h * ((W**2).sum() + (P**2).sum() - 2 * np.linalg.norm(P.T @ W, "nuc")) for h, P in zip(shares, own, strict=True)
    )


def minimum(deltas, weights, k):
    """The best of many starts, random combinations of randomly turned points among them."""
    own, shares = [*points(deltas, weights, k)], np.abs(weights) / np.abs(weights).sum()
    source, best = np.random.default_rng(0), None
    basis = np.linalg.qr(np.concatenate(own, 1))[0]
    for _ in range(12):
        turns = [np.linalg.qr(source.normal(size=(k, k)))[0] for _ in own]
        start = basis.T @ sum(h * P @ Q for h, P, Q in zip(shares, own, turns, strict=True))
        found = minimize(lambda x: spread(basis @ x.reshape(-1, k), own, shares), start.ravel(), method="BFGS")
        best = found if best is None or found.fun < best.fun else best
    W = basis @ best.x.reshape(-1, k)
    return W[: len(deltas[0])] @ W[len(deltas[0]) :].T


@pytest.mark.parametrize("ranks", [(1, 2), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("signs", [[1, 1, 1], [1, -1, 1]], ids=str)
def test_descent_from_many_starts_ends_there(ranks, signs):
    s = Source(8)
    deltas, weights = [low_rank(s, r) for r in ranks], [w * c for w, c in zip((0.7, 0.4, 0.5), signs, strict=True)]
    weights = weights[: len(ranks)]
    found = full(deltas).merged(RULE, weights)
    expected = minimum([X.numpy() for X in deltas], weights, max(ranks))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert np.linalg.matrix_rank(found, tol=1e-9) <= max(ranks)


def test_of_equal_singular_vectors_the_square_roots_are_averaged():
    s = Source(2)
    U, V, spectra = s.haar(M, 3), s.haar(12, 3), [torch.tensor(x).double() for x in ([9.0, 4.0, 1.0], [1.0, 1.0, 0.25])]
    mean = (0.75 * spectra[0].sqrt() + 0.25 * spectra[1].sqrt()) ** 2
    found = full([U * spectrum @ V.T for spectrum in spectra]).merged(RULE, [3.0, 1.0])
    np.testing.assert_allclose(found, U * mean @ V.T, rtol=0, atol=1e-9)


def test_one_adapter_and_one_given_twice_are_themselves_and_a_zero_one_does_not_count():
    one, other = low_rank(Source(3), 3), low_rank(Source(4), 3)
    for deltas in ([one], [one, one], [one, one, one], [one, 0 * one]):
        np.testing.assert_allclose(full(deltas).merged(RULE, [0.5] * len(deltas)), one, rtol=0, atol=1e-8)
    pair, trio = full([one, other]).merged(RULE, [1.0, 1.0]), full([one, other, 0 * one]).merged(RULE, [1.0] * 3)
    np.testing.assert_allclose(trio, pair, rtol=0, atol=1e-9)
    np.testing.assert_allclose(full([one, one]).merged(RULE, [1.0, -1.0]), 0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]], ids=str)
def test_frames_turn_it_and_the_order_of_the_adapters_does_not_count(order):
    s = Source(5)
    deltas, weights = [low_rank(s, r) for r in (2, 3, 4)], [0.7, 0.2, 0.5]
    one = full(deltas, seed=1).merged(RULE, weights)
    other = full([deltas[i] for i in order], seed=2).merged(RULE, [weights[i] for i in order])
    np.testing.assert_allclose(other, one, rtol=0, atol=1e-7)


def test_what_has_not_converged_is_said(monkeypatch, caplog):
    monkeypatch.setattr(module, "_FIRST_STEPS", 1)
    monkeypatch.setattr(module, "_MOST_STEPS", 2)
    adapters = [random_adapter("kohya", {"a": (9, 12), "b": (11, 7)}, 3, seed=seed) for seed in range(3)]
    with caplog.at_level(logging.WARNING):
        lorafold.merge(adapters, core="quotient")
    assert "core=quotient: 2 of 2 modules have not converged in 2 steps" in caplog.text


def test_a_merge_is_that_of_the_updates_whatever_their_factors():
    adapters = [random_adapter("kohya", {"a": (9, 12), "b": (11, 7)}, 3, seed=seed) for seed in range(2)]
    merged = updates(lorafold.merge(adapters, weights=[1.0, 2.0], core="quotient", rank="max").adapter)
    for name, found in merged.items():
        expected = full([updates(adapter)[name] for adapter in adapters]).merged(RULE, [1.0, 2.0])
        assert relative(found, torch.from_numpy(expected)) < 1e-6
