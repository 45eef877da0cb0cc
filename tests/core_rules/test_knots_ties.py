"""knots_ties: the authors' steps on full matrices, and what a rule for whole layers means for a merge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from tests.builders import changed, random_adapter
from tests.core_rules.whole_oracles import knots_ties
from tests.oracles import relative, truncations, updates

SHAPES = {"a": (14, 12), "b": (11, 17), "c": (3, 9)}
WEIGHTS = {"equal": [1.0] * 3, "unequal": [0.7, 0.2, 0.5], "signed": [1.0, -0.4, 0.6], "one silent": [1.0, 0.0, 0.5]}


def trio(lacking: str | None = None) -> list[lorafold.Adapter]:
    adapters = [random_adapter("kohya", SHAPES, r, seed=r, scale=0.5 * r) for r in (2, 3, 4)]
    if lacking:
        modules = {name: module for name, module in adapters[1].modules.items() if name != lacking}
        adapters[1] = replace(adapters[1], modules=modules)
    return adapters


def authors(adapters, *inputs):
    dense = [{name: delta.numpy() for name, delta in updates(adapter).items()} for adapter in adapters]
    return knots_ties(dense, *inputs)


def merged(adapters, weights, density, elect="weighted", **settings):
    core = {"name": "knots_ties", "density": density, "elect": elect}
    return lorafold.merge(adapters, weights=weights, core=core, **{"rank": "max", "dtype": "float32", **settings})


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("lacking", [None, "b"])
@pytest.mark.parametrize("density", [0.2, 1.0])
def test_the_authors_steps_on_full_matrices(weights, lacking, density):
    found = updates(merged(trio(lacking), weights, density).adapter)
    for name, expected in authors(trio(lacking), weights, density).items():
        assert relative(found[name], torch.from_numpy(expected)) < 1e-6


def test_pefts_election():
    found = updates(merged(trio(), [0.7, -0.2, 0.5], 0.3, "unweighted").adapter)
    for name, expected in authors(trio(), [0.7, -0.2, 0.5], 0.3, "unweighted").items():
        assert relative(found[name], torch.from_numpy(expected)) < 1e-6


def test_cut_to_a_rank_it_is_the_best_approximation():
    found = updates(merged(trio(), [1.0] * 3, 0.2, rank=3).adapter)
    for name, expected in authors(trio(), [1.0] * 3, 0.2).items():
        assert relative(found[name], truncations(torch.from_numpy(expected), [3])[0]) < 1e-6


def test_the_rank_is_at_most_that_of_all_adapters_together_and_rows_leave_their_span():
    result = merged(trio(), [1.0] * 3, 0.6)
    ranks = {name: module.rank for name, module in result.adapter.modules.items()}
    assert ranks == {"a": 9, "b": 8, "c": 3}
    rows = torch.cat([module.down.double() for module in (one.modules["b"] for one in trio())])
    outside = torch.eye(17, dtype=torch.float64) - torch.linalg.pinv(rows) @ rows
    found = updates(result.adapter)["b"]
    assert 0.1 < float(torch.linalg.matrix_norm(found @ outside) / torch.linalg.matrix_norm(found)) < 0.9


def test_a_module_of_small_entries_loses_all_of_them():
    """What is trimmed is the adapter, not the module."""

    def faint(adapter):
        modules = {**adapter.modules, "a": replace(adapter.modules["a"], scale=1e-3)}
        return replace(adapter, modules=modules)

    result = merged([faint(adapter) for adapter in trio()], [1.0] * 3, 0.2)
    assert not updates(result.adapter)["a"].any() and updates(result.adapter)["b"].any()


def test_it_depends_on_the_updates_alone():
    source = np.random.default_rng(5)

    def regauged(module):
        G = torch.from_numpy(source.normal(size=(module.rank, module.rank)))
        return replace(module, up=module.up.double() @ G, down=torch.linalg.solve(G, module.down.double()))

    one = updates(merged(trio(), [0.7, 0.2, 0.5], 0.2).adapter)
    other = updates(merged([changed(adapter, regauged) for adapter in trio()], [0.7, 0.2, 0.5], 0.2).adapter)
    turned = updates(merged(trio()[::-1], [0.5, 0.2, 0.7], 0.2).adapter)
    for name in SHAPES:
        assert relative(other[name], one[name]) < 1e-6 and relative(turned[name], one[name]) < 1e-6


def test_what_is_measured_is_measured_against_the_adapters():
    metrics = merged(trio(), [1.0] * 3, 1.0, rank=3).metrics()
    found = updates(merged(trio(), [1.0] * 3, 1.0, rank=3).adapter)
    for module in metrics["modules"]:
        assert module["ranks"] == [2, 3, 3 if module["name"] == "c" else 4]
        U, _, Vt = np.linalg.svd(found[module["name"]].numpy())
        for share, adapter in zip(module["retained"], trio(), strict=True):
            delta = updates(adapter)[module["name"]].numpy()
            expected = np.linalg.norm(U[:, :3].T @ delta @ Vt[:3].T) ** 2 / np.linalg.norm(delta) ** 2
            assert share == pytest.approx(expected, abs=1e-6)


def test_an_adapter_given_twice_counts_once_and_one_against_itself_is_nothing():
    one, other = trio()[:2]
    alone = updates(merged([one], [1.0], 0.5).adapter)
    for name, found in updates(merged([one, one], [1.0, 1.0], 0.5).adapter).items():
        assert relative(found, alone[name]) < 1e-6
    assert not any(delta.any() for delta in updates(merged([other, other], [1.0, -1.0], 0.5).adapter).values())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"core_rank": 32}, r"core_rank=32, but core=knots_ties works on whole layers"),
        ({"calibration": ["a", "b", "c"]}, r"calibration=.* works on whole layers"),
        ({"core": {"name": "knots_ties", "density": 0.0}}, r"core\.density=0\.0"),
    ],
)
def test_what_it_cannot_do_is_refused(settings, words):
    with pytest.raises(LorafoldError, match=words):
        lorafold.merge(trio(), **{"core": "knots_ties", "rank": 4, **settings})


def test_an_update_that_is_not_a_number_is_refused_by_name():
    broken = changed(trio()[0], lambda module: replace(module, down=module.down * torch.nan))
    with pytest.raises(LorafoldError, match="NaN"):
        lorafold.merge([broken, *trio()[1:]], core="knots_ties")
