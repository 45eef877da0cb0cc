"""What a module is besides its update, its kernel, type, biases and dtype, survives the merge and the file."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.adapters import Adapter, Module
from tests import oracles
from tests.builders import Source, random_adapter, single
from tests.builders import one_thread as one_thread
from tests.oracles import updates

S = Source(0)
UP, DOWN = S.normal(20, 4), S.normal(4, 15)


CONV = {"kernel": (3, 3), "kind": "conv"}
POINT = {"kernel": (1, 1), "kind": "conv"}


def again(result, tmp_path) -> Adapter:
    form = result.adapter.format
    return lorafold.load(lorafold.save(result.adapter, tmp_path / ("m.safetensors" if form == "kohya" else "m")))


@pytest.mark.parametrize("form", ["kohya", "peft"])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (3,), (2, 1, 2)])
def test_convolutions(tmp_path, kernel, form):
    n = 5 * math.prod(kernel)
    parts = {"form": form, "kernel": kernel, "kind": "conv"}
    adapters = [single(S.normal(8, 2), S.normal(2, n), **parts) for _ in range(2)]
    result = lorafold.merge(adapters, weights=[1, 1], rank="max")
    module = again(result, tmp_path).modules["a"]
    assert (module.kernel, module.kind) == (kernel, "conv")
    assert oracles.relative(oracles.update(module), sum(updates(adapter)["a"] for adapter in adapters)) < 1e-9


@pytest.mark.parametrize("first", ["linear", "conv"])
def test_a_pointwise_convolution_faces_a_linear_layer(tmp_path, first):
    """Trainers write the same layer of a UNet either way; the first adapter's way is kept."""
    both = [single(S.normal(8, 2), S.normal(2, 5), **parts) for parts in ({}, POINT)]
    ordered = both if first == "linear" else both[::-1]
    result = lorafold.merge(ordered, weights=[1, 1], rank="max")
    module = again(result, tmp_path).modules["a"]
    assert (module.kernel, module.kind) == ((), "linear") if first == "linear" else ((1, 1), "conv")
    assert oracles.relative(oracles.update(module), sum(updates(adapter)["a"] for adapter in both)) < 1e-9


def test_embeddings(tmp_path):
    parts = {"form": "peft", "kind": "embedding"}
    adapters = [single(S.normal(6, 2), S.normal(2, 50), **parts) for _ in range(2)]
    module = again(lorafold.merge(adapters, weights=[1, 1], rank="max"), tmp_path).modules["a"]
    assert module.kind == "embedding"
    assert oracles.relative(oracles.update(module), sum(updates(adapter)["a"] for adapter in adapters)) < 1e-9


def test_lora_biases_are_summed_with_weight_and_scale(tmp_path):
    biases = [S.normal(20), S.normal(20)]
    adapters = [single(UP, DOWN, s, form="peft", bias=b) for s, b in zip((0.5, 2.0), biases, strict=True)]
    result = lorafold.merge(adapters, weights=[0.7, -0.3], rank=4, scale=2.0)
    module = again(result, tmp_path).modules["a"]
    torch.testing.assert_close(module.scale * module.bias, 2 * (0.7 * 0.5 * biases[0] - 0.3 * 2.0 * biases[1]))


def test_other_additive_tensors_are_summed_with_the_weights(tmp_path):
    deltas = [{"a.diff_b": S.normal(20), "n.w_norm": S.normal(5)}, {"a.diff_b": S.normal(20)}]
    adapters = [replace(single(UP, DOWN), deltas=delta) for delta in deltas]
    result = lorafold.merge(adapters, weights=[0.7, -0.3], rank=4, scale=2.0)
    found = again(result, tmp_path).deltas
    torch.testing.assert_close(found["a.diff_b"], 1.4 * deltas[0]["a.diff_b"] - 0.6 * deltas[1]["a.diff_b"])
    torch.testing.assert_close(found["n.w_norm"], 1.4 * deltas[0]["n.w_norm"])


def test_half_precision_files_lose_no_more_than_their_rounding():
    for dtype, error in ((torch.float16, 1e-3), (torch.bfloat16, 8e-3)):
        adapters = [
            random_adapter("kohya", {"a": (20, 15), "b": (9, 30)}, 4, seed=seed, dtype=dtype) for seed in (1, 2)
        ]
        found = lorafold.merge(adapters, weights=[1, 1], rank="max").adapter
        assert {module.up.dtype for module in found.modules.values()} == {dtype}
        for name, delta in updates(found).items():
            assert oracles.relative(delta, sum(updates(adapter)[name] for adapter in adapters)) < error


def test_a_module_of_one_adapter_keeps_its_type():
    conv = {"a": Module("a", S.normal(8, 2), S.normal(2, 45), 1.0, **CONV)}
    result = lorafold.merge([random_adapter("kohya", {"b": (4, 4)}, 2), Adapter("kohya", conv)], rank=2)
    assert (result.adapter.modules["a"].kernel, result.adapter.modules["b"].kernel) == ((3, 3), ())
