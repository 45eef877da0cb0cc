"""`core_rank=`: the core rule works in larger subspaces than those that are merged into."""

from __future__ import annotations

import pytest
import torch

import lorafold
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter
from tests.demo_pair import change, few
from tests.oracles import relative, truncations, updates

SHAPES = {"a": (20, 15), "b": (14, 30)}


def trio() -> list[lorafold.Adapter]:
    return [random_adapter("kohya", SHAPES, r, seed=r, scale=0.5) for r in (4, 3, 5)]


@pytest.mark.parametrize("core", ["sum", "ties", "tsv", "wudi", "dare"])
def test_at_most_it_is_the_truncated_svd_of_the_merge_in_the_joint_span(core):
    whole = updates(lorafold.merge(trio(), core=core, rank="max", scale=1.0).adapter)
    found = lorafold.merge(trio(), core=core, rank=5, core_rank="max", scale=1.0)
    assert {module.rank for module in found.adapter.modules.values()} == {5}
    for name, delta in updates(found.adapter).items():
        assert relative(delta, truncations(whole[name], [5])[0]) < 1e-8


def test_of_equal_singular_values_those_are_kept_that_are_leading_in_the_sum():
    found = updates(lorafold.merge(trio(), core="iso_c", rank=5, core_rank="max").adapter)
    for name in SHAPES:
        U, sigma, Vt = torch.linalg.svd(sum(updates(adapter)[name] for adapter in trio()) / 3)
        assert relative(found[name], sigma[:12].mean() * U[:, :5] @ Vt[:5]) < 1e-6


def test_between_it_is_the_truncated_svd_of_the_merge_at_that_rank():
    options = {"core": "ties", "objective": "geodesic"}
    whole = updates(lorafold.merge(trio(), rank=8, **options).adapter)
    found = updates(lorafold.merge(trio(), rank=5, core_rank=8, **options).adapter)
    for name, delta in found.items():
        assert relative(delta, truncations(whole[name], [5])[0]) < 1e-8


@pytest.mark.parametrize("core_rank", [12, 40, "max"])
def test_above_all_ranks_it_changes_nothing(core_rank):
    one = lorafold.merge(trio(), core="iso_c", rank="max")
    for rank in ("max", 12):
        if core_rank == "max" or rank != "max":
            assert change(lorafold.merge(trio(), core="iso_c", rank=rank, core_rank=core_rank), one) < 1e-9


def test_the_subspaces_are_those_of_the_merged_adapter():
    result = lorafold.merge(few(), core="iso_c", rank=6, core_rank="max")
    metrics = {module["name"]: module for module in result.metrics()["modules"]}
    for name, merged in updates(result.adapter).items():
        U, _, Vt = torch.linalg.svd(merged)
        for i, adapter in enumerate(few()):
            delta = updates(adapter)[name]
            kept = float((U[:, :6].T @ delta @ Vt[:6].T).square().sum() / delta.square().sum())
            assert metrics[name]["retained"][i] == pytest.approx(kept, rel=1e-6)
        target = sum(updates(adapter)[name] for adapter in few()) / 2
        error = float((merged - target).square().sum() / target.square().sum())
        assert metrics[name]["reconstruction_error"] == pytest.approx(error, rel=1e-6)


def test_what_cancels_stays_nothing():
    result = lorafold.merge([trio()[0]] * 2, weights=[1, -1], rank=3, core_rank="max")
    assert not any(bool(delta.any()) for delta in updates(result.adapter).values())
