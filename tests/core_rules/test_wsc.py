"""wsc: the authors' projection of a row to the adapters' ellipsoid on full matrices, and limits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import lorafold
from tests.builders import changed, random_adapter
from tests.core_rules.test_knots_ties import SHAPES, trio
from tests.oracles import relative, truncations, updates


def oracle(deltas, weights):
    """Row by row, in the coordinates of the adapters' rows and what is outside of them."""
    merged = np.zeros_like(deltas[0])
    for row in range(len(merged)):
        axes = [X[row] for X, w in zip(deltas, weights, strict=True) if w and X[row].any()]
        d = sum(w * X[row] for X, w in zip(deltas, weights, strict=True))
        alpha = [a @ d / (a @ a) for a in axes]
        circle = d - sum(k * a for k, a in zip(alpha, axes, strict=True))
        mean = np.mean([np.linalg.norm(a) for a in axes])
        merged[row] = d / np.sqrt(sum(k**2 for k in alpha) + circle @ circle / mean**2)
    return torch.from_numpy(merged)


def merged(adapters, weights, **settings):
    return updates(lorafold.merge(adapters, weights=weights, core="wsc", **{"rank": "max", **settings}).adapter)


@pytest.mark.parametrize("weights", [[1.0] * 3, [0.7, 0.2, 0.5], [1.0, -0.4, 0.6], [1.0, 0.0, 0.5]], ids=str)
def test_the_authors_steps_row_by_row(weights):
    found, larger = merged(trio(), weights), merged(trio(), [5 * weight for weight in weights])
    for name in SHAPES:
        expected = oracle([updates(adapter)[name].numpy() for adapter in trio()], weights)
        assert relative(found[name], expected) < 1e-6 and relative(larger[name], expected) < 1e-6


def test_an_adapter_without_a_module_does_not_count_there():
    found, pair = merged(trio(lacking="b"), [1.0] * 3), merged([trio()[0], trio()[2]], [1.0] * 2)
    assert relative(found["b"], pair["b"]) < 1e-6 < relative(found["a"], pair["a"])


def test_cut_to_a_rank_it_is_the_best_approximation():
    found, whole = merged(trio(), [1.0] * 3, rank=3), merged(trio(), [1.0] * 3)
    assert all(relative(found[name], truncations(whole[name], [3])[0]) < 1e-6 for name in SHAPES)


def test_one_adapter_is_itself_twice_it_comes_out_at_one_third_of_its_energy_and_against_itself_at_nothing():
    one = trio()[0]
    for count, factor in ((1, 1.0), (2, 3**-0.5)):
        found = merged([one] * count, [1.0] * count)
        assert all(relative(found[name], factor * updates(one)[name]) < 1e-6 for name in SHAPES)
    G = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    other = changed(one, lambda module: replace(module, up=module.up.double() @ G, down=G.mT @ module.down.double()))
    assert not any(delta.any() for delta in merged([one, other], [1.0, -1.0]).values())


def test_rows_that_are_orthogonal_and_of_one_length_keep_it():
    adapters = []
    for seed, down in enumerate(torch.eye(8, dtype=torch.float64).split(4)):
        adapter = random_adapter("kohya", {"a": (8, 8)}, 4, seed=seed)
        up = adapter.modules["a"].up.double()
        unit = up / torch.linalg.vector_norm(up, dim=1, keepdim=True)
        adapters.append(changed(adapter, partial(replace, up=unit, down=down, scale=1.0)))
    lengths = torch.linalg.vector_norm(merged(adapters, [1.0, 1.0])["a"], dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-6)
