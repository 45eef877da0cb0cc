"""lego: k-means as scipy does it from the same start, and the cases in which every unit is a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2

import lorafold
from lorafold.core_rules import Factors
from tests.builders import Source, changed, random_adapter
from tests.core_rules.applying import bound
from tests.oracles import updates

RULE = bound("lego")


def oracle(ups: Sequence[np.ndarray], downs: Sequence[np.ndarray], k: int) -> np.ndarray:
    """ups (T matrices r x K_i), with the scales and weights in them, and downs (T matrices K_i x r)."""
    units = np.concatenate([np.concatenate([down, up.T], 1) for up, down in zip(ups, downs, strict=True)])
    start = [units[np.linalg.norm(units, axis=1).argmax()]]
    while len(start) < min(k, len(units)):
        start.append(max(units, key=lambda unit: min(np.linalg.norm(unit - other) for other in start)))
    centres, labels = kmeans2(units, np.stack(start), iter=100, minit="matrix")
    for c in range(len(start)):
        centres[c] *= np.abs(units[labels == c]).max(1).mean() / np.abs(centres[c]).max()
    size = ups[0].shape[0]
    return np.sqrt(len(units) / len(start)) * centres[:, size:].T @ centres[:, :size]


def factors(ranks: Sequence[int], size: int) -> Factors:
    """Units around five directions, so that there is something to find."""
    s, width = Source(3), max(ranks)
    directions, which = s.normal(5, 2 * size), torch.arange(len(ranks) * width) % 5
    units = (directions[which] + 0.3 * s.normal(len(which), 2 * size)).view(1, len(ranks), width, 2 * size)
    units = units * (torch.arange(width) < torch.tensor(ranks)[None, :, None])[..., None]
    scales = torch.linspace(0.5, 2.0, len(ranks), dtype=torch.float64)[None]
    return Factors(units[..., size:].mT, units[..., :size], scales, torch.tensor(ranks)[None])


def real(given: Factors, weights: Sequence[float]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The factors of the adapters that take part, without padding."""
    ranks = given.ranks[0].tolist()
    have = [i for i, rank in enumerate(ranks) if rank and weights[i]]
    ups = [weights[i] * float(given.scales[0, i]) * given.ups[0, i, :, : ranks[i]].numpy() for i in have]
    return ups, [given.downs[0, i, : ranks[i]].numpy() for i in have]


@pytest.mark.parametrize("size", [2, 5, 8])
@pytest.mark.parametrize("ranks", [(4, 4, 4), (4, 2, 6), (6, 0, 6), (6,)], ids=str)
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.7, 0.5, -0.2], [1.0, 1.0, 0.0]], ids=str)
def test_the_codes_formula(size, ranks, weights):
    given = factors(ranks, size)
    weights = weights[: len(ranks)]
    found = RULE(given, torch.tensor([weights], dtype=torch.float64))[0]
    np.testing.assert_allclose(found.numpy(), oracle(*real(given, weights), size), rtol=0, atol=1e-11)


SHAPES = {"a": (9, 12), "b": (11, 7)}


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.5, -0.2]], ids=str)
def test_where_each_unit_is_a_cluster_the_merge_is_the_weighted_sum(weights):
    adapters = [random_adapter("kohya", SHAPES, rank, seed=rank, scale=0.5) for rank in (2, 3)]
    merged, exact = (
        updates(lorafold.merge(adapters, weights=weights, rank="max", core=name).adapter) for name in ("lego", "sum")
    )
    for name, update in merged.items():
        torch.testing.assert_close(update, exact[name], rtol=0, atol=1e-9)


def test_units_given_twice_are_one_cluster():
    """√2 of their half of the sum, whether there is room for more clusters or not."""
    given = factors((3, 3), 8)
    twice = Factors(*(value[:, :1].expand(-1, 2, *value.shape[2:]) for value in vars(given).values()))
    one = torch.ones(1, 2).double()
    expected = 2**0.5 * given.scales[0, 0] * given.ups[0, 0] @ given.downs[0, 0]
    torch.testing.assert_close(RULE(twice, one)[0], expected, rtol=0, atol=1e-12)


def test_it_depends_on_the_gauge_as_documented():
    first, second = (random_adapter("kohya", SHAPES, 3, seed=seed) for seed in (1, 2))
    other = changed(first, lambda m: replace(m, up=4 * m.up, down=m.down / 4))
    one, another = (
        updates(lorafold.merge([adapter, second], rank=3, core="lego").adapter) for adapter in (first, other)
    )
    assert float((one["a"] - another["a"]).norm()) > 0.05 * float(one["a"].norm())
