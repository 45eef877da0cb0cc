"""core_ties: the authors' steps on full factors, and what it has that `ties` has not, a gauge that counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from tests.builders import changed, random_adapter
from tests.core_rules.entry_oracles import ties
from tests.oracles import relative, truncations, updates

SHAPES = {"a": (20, 15), "b": (14, 30)}
WEIGHTS = {"equal": [1.0] * 3, "unequal": [0.7, 0.2, 0.5], "signed": [1.0, -0.4, 0.6], "one silent": [1.0, 0.0, 0.5]}


def trio() -> list[lorafold.Adapter]:
    return [random_adapter("kohya", SHAPES, r, seed=r, scale=0.5 * r) for r in (2, 3, 4)]


def authors(adapters, weights, name, density=0.2, elect="weighted"):
    """Reference bases from the SVDs of the stacked factors; TIES of UᵀB_iA_iV, a layer by itself; back."""
    modules = [adapter.modules[name] for adapter, weight in zip(adapters, weights, strict=True) if weight]
    ups = [module.up.double().numpy() for module in modules]
    downs = [module.down.double().numpy() for module in modules]
    U = np.linalg.svd(np.concatenate(ups, 1), full_matrices=False)[0]
    Vt = np.linalg.svd(np.concatenate(downs, 0), full_matrices=False)[2]
    parts = zip(modules, ups, downs, strict=True)
    size = sum(adapter.modules[name].rank for adapter in adapters)  # of the core, with its empty rows and columns
    cores = [np.pad(m.scale * U.T @ B @ A @ Vt.T, (0, size - U.shape[1])) for m, B, A in parts]
    merged = ties(cores, [weight for weight in weights if weight], None, density, elect)
    return torch.from_numpy(U @ merged[: U.shape[1], : U.shape[1]] @ Vt)


def merged(adapters, weights, core, **settings):
    given = {"weights": weights, "core": core, "core_rank": "max", "rank": "max", **settings}
    return updates(lorafold.merge(adapters, **given).adapter)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("elect", ["weighted", "unweighted"])
def test_the_authors_steps_on_full_factors(weights, elect):
    found = merged(trio(), weights, {"name": "core_ties", "density": 0.3, "elect": elect})
    for name in SHAPES:
        assert relative(found[name], authors(trio(), weights, name, 0.3, elect)) < 1e-6


def test_the_method_cuts_it_to_the_rank():
    found = updates(lorafold.merge(trio(), lorafold.recipe("core_ties", rank=4)).adapter)
    for name in SHAPES:
        assert relative(found[name], truncations(authors(trio(), [1.0] * 3, name), [4])[0]) < 1e-6


def test_the_gauge_counts_and_of_ties_it_does_not():
    source = np.random.default_rng(5)

    def regauged(module):
        G = torch.from_numpy(source.normal(size=(module.rank, module.rank)))
        return replace(module, up=module.up.double() @ G, down=torch.linalg.solve(G, module.down.double()))

    others = [changed(adapter, regauged) for adapter in trio()]
    for core, differ in (("core_ties", True), ("ties", False)):
        one, other = (merged(adapters, [1.0] * 3, core) for adapters in (trio(), others))
        assert all((relative(other[name], one[name]) > 0.05) is differ for name in SHAPES)


def test_one_adapter_of_which_all_is_kept_is_itself():
    for name, found in merged(trio()[:1], [1.0], {"name": "core_ties", "density": 1.0}).items():
        assert relative(found, updates(trio()[0])[name]) < 1e-6
