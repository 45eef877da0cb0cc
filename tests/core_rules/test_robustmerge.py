"""robustmerge: the code of Compress-then-Merge, factor by factor, and what depends on the gauge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from lorafold.core_rules import Factors
from lorafold.core_rules.robustmerge import _largest
from tests.builders import Source, changed, random_adapter
from tests.core_rules.applying import bound
from tests.core_rules.entry_oracles import kept, top
from tests.oracles import updates


def oracle(ups: Sequence[np.ndarray], downs: Sequence[np.ndarray], density: float) -> np.ndarray:
    """ups (T matrices r x K), with the scales and weights in them, and downs (T matrices K x r)."""
    pruned_ups, pruned_downs = ([x * top(x, kept(x, density)) for x in side] for side in (ups, downs))
    K = downs[0].shape[0]
    ratios = np.zeros((len(ups), K))
    for i, (down, pruned) in enumerate(zip(downs, pruned_downs, strict=True)):
        for row in range(K):
            left = np.abs(pruned[row]).sum()
            ratios[i, row] = np.abs(down[row]).sum() / left if left else 0.0
    ratios /= np.maximum(ratios.sum(0), 1e-300)
    return sum(up * ratio for up, ratio in zip(pruned_ups, ratios, strict=True)) @ sum(pruned_downs)


def factors(ranks: Sequence[int], size: int = 6, width: int = 4) -> Factors:
    s, shape = Source(3), (1, len(ranks), size, width)
    real = torch.arange(width) < torch.tensor(ranks)[None, :, None]
    return Factors(
        s.normal(*shape) * real[..., None, :],
        s.normal(*shape).mT * real[..., None],
        torch.linspace(0.5, 2.0, len(ranks), dtype=torch.float64)[None],
        torch.tensor(ranks)[None],
    )


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("ranks", [(4, 4, 4), (3, 3, 3), (4, 0, 4), (4,)], ids=str)
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.7, 0.5, -0.2], [1.0, 1.0, 0.0]], ids=str)
def test_the_codes_formula(density, ranks, weights):
    given = factors(ranks)
    weights = weights[: len(ranks)]
    found = bound("robustmerge", density=density)(given, torch.tensor([weights], dtype=torch.float64))[0]
    have = [i for i, rank in enumerate(ranks) if rank and weights[i]]
    ups = [weights[i] * float(given.scales[0, i]) * given.ups[0, i, :, : ranks[i]].numpy() for i in have]
    downs = [given.downs[0, i, : ranks[i]].numpy() for i in have]
    np.testing.assert_allclose(found.numpy(), oracle(ups, downs, density), rtol=0, atol=1e-12)


SHAPES = {"a": (9, 12), "b": (11, 7)}


def test_one_adapter_of_which_all_is_kept_is_itself():
    adapter = random_adapter("kohya", SHAPES, 3, scale=0.5)
    merged = lorafold.merge(
        [adapter, random_adapter("kohya", SHAPES, 3, seed=1)],
        weights=[1.0, 0.0],
        rank="max",
        core={"name": "robustmerge", "density": 1.0},
    )
    for name, update in updates(merged.adapter).items():
        torch.testing.assert_close(update, updates(adapter)[name], rtol=0, atol=1e-8)


def test_it_depends_on_the_gauge_as_documented():
    first, second = (random_adapter("kohya", SHAPES, 3, seed=seed) for seed in (1, 2))
    G = Source(3).conditioned(3, 3, 10.0)
    other = changed(first, lambda m: replace(m, up=m.up @ G, down=torch.linalg.solve(G, m.down)))
    one, another = (
        updates(lorafold.merge([adapter, second], rank="max", core="robustmerge").adapter) for adapter in (first, other)
    )
    assert float((one["a"] - another["a"]).norm()) > 0.05 * float(one["a"].norm())


@pytest.mark.parametrize(("entries", "density", "count"), [((10, 10), 0.29, 29), ((5, 5), 0.28, 7), ((6, 5), 0.29, 8)])
def test_a_share_is_rounded_down_but_not_for_the_digits_of_a_product(entries, density, count):
    """0.29 x 100 is 28.999999999999996."""
    given = Source(4).normal(1, 1, *entries)
    kept = _largest(given, torch.tensor([[density * given.numel()]], dtype=torch.float64))
    assert int((kept != 0).sum()) == count
