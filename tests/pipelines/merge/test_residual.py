"""What a merge lost: with the merged adapter it is the weighted sum, in dense float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter
from tests.oracles import numerical_rank, relative, updates

SHAPES = {"model.layers.0.q": (12, 9), "model.layers.1.q": (9, 14)}


def pair() -> list[lorafold.Adapter]:
    first, second = (random_adapter("peft", SHAPES, r, seed=r, scale=0.5) for r in (3, 4))
    return [first, replace(second, modules={"model.layers.1.q": second.modules["model.layers.1.q"]})]


def errors(result, weights) -> list[float]:
    """Of merged + residual, by layer; `weights` of each adapter by layer."""
    merged, lost = updates(result.adapter), updates(result.residual.adapter)
    inputs = [updates(adapter) for adapter in result.inputs]
    return [
        relative(
            merged[name] + lost[name],
            sum(w * own[name] for w, own in zip(weights(name), inputs, strict=True) if name in own),
        )
        for name in merged
    ]


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"weights": [0.7, -0.3]}, (0.7, -0.3)),
        ({"weights": [3, 1], "core": "mean", "scale": 2.0}, (1.5, 0.5)),
        ({"weights": [0, 1]}, (0, 1)),
    ],
    ids=str,
)
def test_merged_and_residual_are_the_weighted_sum(settings, factors):
    result = lorafold.merge(pair(), rank=2, residual=True, **settings)
    assert max(errors(result, lambda _: factors)) < 1e-12
    lost = updates(result.residual.adapter)
    whole = {name: delta + lost[name] for name, delta in updates(result.adapter).items()}
    energies = [sum(float(delta.square().sum()) for delta in each.values()) for each in (lost, whole)]
    assert result.metrics()["summary"]["residual"] == pytest.approx(energies[0] / energies[1])
    assert all(
        module.rank == max(1, numerical_rank(lost[name])) for name, module in result.residual.adapter.modules.items()
    )


def test_the_strength_is_that_of_the_merge():
    result = lorafold.merge(pair(), rank=2, residual=True)
    assert result.scale != 1 and result.gains[0] != 1
    assert max(errors(result, lambda _: [result.scale * gain / 2 for gain in result.gains])) < 1e-12


@pytest.mark.parametrize(("dtype", "most"), [("float32", 3e-7), ("bfloat16", 4e-3)])
def test_to_the_rounding_of_the_file(dtype, most):
    result = lorafold.merge(pair(), weights=[1, 1], rank=2, residual=True, dtype=dtype)
    assert {module.up.dtype for module in result.residual.adapter.modules.values()} == {getattr(torch, dtype)}
    assert max(errors(result, lambda _: (1, 1))) < most


def test_nothing_is_lost_at_full_rank():
    result = lorafold.merge(pair(), weights=[1, 1], rank="max", residual=True)
    assert {module.rank for module in result.residual.adapter.modules.values()} == {1}
    assert result.residual.share < 1e-24


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"core": "ties"}, "core=ties makes something else"), ({"scale": "svc"}, "a strength for each direction")],
)
def test_merges_without_a_weighted_sum(settings, message):
    with pytest.raises(LorafoldError, match=f"residual=true, but .*{message}"):
        lorafold.merge(pair(), residual=True, **settings)


def test_whole_tensors_stay_with_the_merged_adapter():
    first, second = pair()
    key = "base_model.model.classifier.weight"
    first = replace(first, extras={key: torch.ones(2, 2)}, config={"modules_to_save": ["classifier"], "bias": "none"})
    result = lorafold.merge([first, second], rank=2, residual=True)
    assert list(result.adapter.extras) == [key]
    lost = result.residual.adapter
    assert not lost.extras and lost.config["modules_to_save"] is None
