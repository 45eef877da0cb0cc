"""Rules of singular values and inner products: their papers' formulas on full matrices, and through a whole merge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from lorafold.core_rules import CORE_RULES
from tests.builders import Source, changed, random_adapter
from tests.core_rules.applying import apply, bound
from tests.core_rules.full_space import cases
from tests.core_rules.spectral_oracles import ORACLES
from tests.oracles import updates

OPTIONS = [
    ("karcher", {}),
    ("tsv", {"keep": "all"}),
    ("iso_c", {}),
    ("iso_cts", {"common": 0.8}),
    ("iso_cts", {"common": 0.5}),
    ("iso_cts", {"common": 0.0}),
    ("cart", {"share": 0.25, "strength": 1.0}),
    ("cart", {"share": 0.5, "strength": 0.3}),
    ("wudi", {"ridge": 1e-3}),
    ("wudi", {"ridge": 1e-6}),
    ("wudi", {"ridge": 10.0}),
    ("pico", {}),
]
RULES = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda value: str(value))
WEIGHTS = {"mean": [1 / 3] * 3, "equal": [1.0] * 3, "unequal": [0.7, 0.2, 0.5], "signed": [1.0, -0.4, 0.6]}
CASES = cases()
# of the largest entry: BFGS finds its minimum to that, the others are direct
EXACT, FOUND = 1e-9, 1e-5


@RULES
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_papers_formula_in_full_space(name, options, weights, case):
    found, expected = case.merged(bound(name, **options), weights), case.expected(ORACLES[name], weights, **options)
    accuracy = FOUND if name == "karcher" else EXACT
    np.testing.assert_allclose(found, expected, rtol=0, atol=accuracy * np.abs(expected).max())


@RULES
@pytest.mark.parametrize("weights", [[0.5, 0.5], [1.0, -0.4]], ids=["mean", "signed"])
def test_a_merge_is_the_formula_of_the_updates(name, options, weights):
    """Modules of several shapes, one that only the second adapter has, and the same whatever the gauge."""
    shapes = {"a": (9, 12), "b": (11, 7), "c": (8, 8)}
    first = random_adapter("kohya", {k: shapes[k] for k in "ab"}, 3, seed=1, scale=0.5)
    second = random_adapter("kohya", shapes, 2, seed=2)
    G = Source(3).conditioned(3, 3, 10.0)
    other = changed(first, lambda m: replace(m, up=m.up @ G, down=torch.linalg.solve(G, m.down)))
    for adapter in (first, other):
        merged = lorafold.merge([adapter, second], weights=weights, rank="max", core={"name": name, **options})
        for module, update in updates(merged.adapter).items():
            pairs = [
                (updates(one)[module].numpy(), w)
                for one, w in zip((adapter, second), weights, strict=True)
                if module in one.modules
            ]
            expected = ORACLES[name](*map(list, zip(*pairs, strict=True)), **options)
            accuracy = FOUND if name == "karcher" else 1e-8
            np.testing.assert_allclose(update.numpy(), expected, rtol=0, atol=accuracy * np.abs(expected).max())


@pytest.mark.parametrize("name", ["tsv", "iso_c", "iso_cts", "cart", "wudi", "pico"])
def test_weights_are_weights_of_the_updates(name):
    """The result is homogeneous in them, and depends on the products w_iC_i alone."""
    cores = Source(5).normal(4, 3, 5, 5)
    weights = torch.tensor([0.7, -0.2, 1.5], dtype=torch.float64).expand(4, 3)
    rule = bound(name)
    merged = rule(cores, weights)
    torch.testing.assert_close(rule(cores, 3 * weights), 3 * merged, rtol=0, atol=1e-11)
    if name != "cart":  # whose mean and departures they weight
        products = weights[..., None, None] * cores
        torch.testing.assert_close(rule(products, torch.ones_like(weights)), merged, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["karcher", "tsv", "cart", "wudi", "pico"])
def test_one_adapter_at_weight_one_is_itself(name):
    cores = Source(5).normal(4, 1, 5, 5)
    found = bound(name)(cores, torch.ones(4, 1, dtype=torch.float64))
    torch.testing.assert_close(found, cores[:, 0], rtol=0, atol=1e-12)


OF_CORES = [name for name, rule in CORE_RULES.items() if not (rule.factors or rule.whole) and rule.adapters is None]


@pytest.mark.parametrize("name", OF_CORES)
def test_rank_deficient_cores_next_to_full_ones(name):
    """Every module for itself: zero, rank 1, equal, opposite and full-rank cores in one batch, all finite."""
    s = Source(5)
    full, thin = s.normal(5, 5), s.normal(5, 1) @ s.normal(1, 5)
    rows = [(0 * full, 0 * full), (thin, 0 * full), (full, full), (full, -full), (thin, full), (1e-12 * full, full)]
    cores = torch.stack([torch.stack(row) for row in rows])
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64).expand(len(rows), 2)
    together = apply(bound(name), cores, weights)
    assert bool(together.isfinite().all()) and not together[0].any()
