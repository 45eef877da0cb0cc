"""What a merged adapter has besides its factors: biases, other tensors, metadata, configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lorafold.adapters import Adapter
from lorafold.common.errors import LorafoldError
from lorafold.layers.assemble import assemble
from tests.builders import Source, random_adapter, single

S = Source(0)
UP, DOWN, BIAS = S.normal(6, 2), S.normal(2, 5), S.normal(6)
FACTORS = {"a": (UP.float(), DOWN.float())}


def peft(bias=None, scale=1.0, **parts) -> Adapter:
    return replace(single(UP, DOWN, scale, form="peft", bias=bias), **parts)


def test_modules_are_the_factors_with_scale_one_in_the_layout_of_the_input():
    like = single(UP, DOWN, 0.25, kernel=(1, 1), kind="conv")
    module = assemble([like], [0.5], 2.0, FACTORS).modules["a"]
    assert torch.equal(module.up, FACTORS["a"][0]) and torch.equal(module.down, FACTORS["a"][1])
    assert (module.name, module.scale, module.kernel, module.kind, module.bias) == ("a", 1.0, (1, 1), "conv", None)


def test_biases_count_with_weight_scale_of_the_module_and_scale_of_the_merge():
    found = assemble([peft(BIAS, 0.5), peft(2 * BIAS, 3.0)], [0.7, -0.1], 2.0, FACTORS).modules["a"].bias
    torch.testing.assert_close(found, (2 * (0.7 * 0.5 - 0.1 * 3.0 * 2) * BIAS).float())
    assert found.dtype == torch.float32


def test_an_adapter_without_bias_or_without_the_module_adds_none():
    other = random_adapter("peft", {"b": (4, 4)}, 2)
    found = assemble([other, peft(), peft(BIAS)], [9.0, 9.0, 0.5], 1.0, FACTORS).modules["a"].bias
    torch.testing.assert_close(found, (0.5 * BIAS).float())


def test_additive_tensors_are_summed_in_the_dtype_of_the_first_that_has_them():
    values = {"x.diff_b": S.normal(6), "x.diff": S.normal(3, 4), "y.diff": S.normal(2)}
    one = replace(single(UP, DOWN, 9.0), deltas={k: values[k].half() for k in ("x.diff_b", "x.diff")})
    other = replace(single(UP, DOWN, 9.0), deltas={k: values[k] for k in ("x.diff_b", "y.diff")})
    found = assemble([one, other], [0.5, -0.25], 2.0, FACTORS).deltas
    assert list(found) == ["x.diff_b", "x.diff", "y.diff"]
    torch.testing.assert_close(found["x.diff_b"], (values["x.diff_b"].half() - 0.5 * values["x.diff_b"]).half())
    assert torch.equal(found["x.diff"], values["x.diff"].half())
    torch.testing.assert_close(found["y.diff"], -0.5 * values["y.diff"])


def test_the_inputs_keep_their_tensors():
    delta, bias = S.normal(6), BIAS.clone()
    adapter = replace(peft(bias), deltas={"d": delta.clone()})
    assemble([adapter, adapter], [0.5, 3.0], 1.0, FACTORS)
    assert torch.equal(adapter.deltas["d"], delta) and torch.equal(bias, BIAS)


def test_whole_weights_are_carried_from_whoever_has_them_if_all_agree():
    head, norm = S.normal(3, 3), torch.arange(4)
    found = assemble(
        [peft(extras={"head": head}), peft(extras={"head": head.clone(), "norm": norm})], [1.0, 1.0], 2.0, FACTORS
    ).extras
    assert list(found) == ["head", "norm"]
    assert torch.equal(found["head"], head) and torch.equal(found["norm"], norm)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.uint16, torch.bool, torch.complex64], ids=str)
def test_whole_weights_of_any_dtype(dtype):
    adapters = [peft(extras={"head": torch.tensor([0.0, 1.0]).to(dtype)}) for _ in range(2)]
    assert assemble(adapters, [1.0, 1.0], 1.0, FACTORS).extras["head"].dtype == dtype


def test_whole_weights_of_one_value_in_two_dtypes():
    values = [torch.tensor([0.0, 1.0]).to(dtype) for dtype in (torch.float32, torch.float8_e4m3fn)]
    adapters = [peft(extras={"head": value}) for value in values]
    assert assemble(adapters, [1.0, 1.0], 1.0, FACTORS).extras["head"].tolist() == [0.0, 1.0]


OTHER = {
    "another number": torch.ones(3),
    "another number, in float8": torch.ones(3).to(torch.float8_e4m3fn),
    "integers": torch.zeros(3, dtype=torch.uint16),
    "another shape": torch.zeros(1),
    "another shape of as many": torch.zeros(1, 3),
}


@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER)
def test_whole_weights_that_differ_are_refused(other):
    adapters = [peft(extras={"head": value}, path=Path(name)) for name, value in (("x", torch.zeros(3)), ("y", other))]
    with pytest.raises(LorafoldError, match=r"^y: head: .*differs between the adapters.*Remove it from all adapters"):
        assemble(adapters, [1.0, 1.0], 1.0, FACTORS)


def test_additive_tensors_of_different_shapes_are_refused():
    adapters = [replace(single(UP, DOWN), deltas={"d": torch.zeros(n)}, path=Path(f"{n}")) for n in (3, 4)]
    with pytest.raises(LorafoldError, match=r"^4: d: shape \(4,\) here but \(3,\) in another adapter"):
        assemble(adapters, [1.0, 1.0], 1.0, FACTORS)


def test_format_and_configuration_are_those_of_the_first():
    adapters = [peft(config={"task_type": name}, metadata={"who": name}, path=Path(name)) for name in ("x", "y")]
    found = assemble(adapters, [0.7, 0.3], 1.0, FACTORS)
    assert (found.format, found.config, found.path) == ("peft", {"task_type": "x"}, None)
    assert found.metadata["who"] == "x"


def test_the_metadata_tell_the_inputs_with_their_weights_and_the_rank():
    adapters = [replace(single(UP, DOWN), path=Path(f"{name}.safetensors")) for name in ("x", "y")]
    found = assemble(adapters, [0.7, -0.3], 1.0, FACTORS).metadata
    inputs = json.loads(found["lorafold"])["inputs"]
    assert [(entry["file"], entry["weight"]) for entry in inputs] == [("x.safetensors", 0.7), ("y.safetensors", -0.3)]
    assert found["ss_network_dim"] == found["ss_network_alpha"] == "2"
