"""MLX folders against mlx-lm's rule: y = x W^T + scale * (x lora_a) lora_b."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorafold.adapters import Adapter, Module, load, save
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.convert.pipeline import convert
from lorafold.pipelines.merge.pipeline import merge
from tests.adapters.language import mlx_folder, peft_adapter, same_updates
from tests.adapters.samples import normal, update

Q, EMBEDDING = "model.layers.0.self_attn.q_proj", "model.embed_tokens"
EXPERTS = "model.layers.0.mlp.switch_mlp.up_proj"


def pair(name: str = Q, m: int = 6, n: int = 5, r: int = 2) -> dict[str, Tensor]:
    return {f"{name}.lora_a": normal(n, r), f"{name}.lora_b": normal(r, m, seed=1)}


def computed_by_mlx(folder: Path) -> dict[str, Tensor]:
    """Updates (m, n) of linear layers as `LoRALinear.fuse` computes them, after the checks of `load_adapters`."""
    config = json.loads((folder / "adapter_config.json").read_text())
    parameters, tensors = config["lora_parameters"], load_file(folder / "adapters.safetensors")
    updates = {}
    for key in tensors:
        name, _, leaf = key.rpartition(".")
        assert leaf in ("lora_a", "lora_b")
        assert name in parameters["keys"] or name.split(".", 3)[3] in parameters["keys"]
        if leaf == "lora_a":
            assert tensors[key].shape[1] == parameters["rank"]
            updates[name] = parameters["scale"] * tensors[f"{name}.lora_b"].double().mT @ tensors[key].double().mT
    return updates


def test_scale_and_factors_follow_mlxs_rule(tmp_path: Path) -> None:
    tensors = pair()
    module = load(mlx_folder(tmp_path / "a", tensors, scale=20)).modules[Q]
    x = normal(3, 5).double()
    expected = 20 * (x @ tensors[f"{Q}.lora_a"].double()) @ tensors[f"{Q}.lora_b"].double()
    torch.testing.assert_close(x @ update(module).mT, expected)
    assert (module.shape, module.rank, module.kind) == ((6, 5), 2, "linear")


def test_an_embedding_is_told_by_its_name(tmp_path: Path) -> None:
    tensors = pair(EMBEDDING, m=4, n=9)
    module = load(mlx_folder(tmp_path / "a", tensors, scale=2.0)).modules[EMBEDDING]
    assert module.kind == "embedding"
    expected = 2 * tensors[f"{EMBEDDING}.lora_a"].double() @ tensors[f"{EMBEDDING}.lora_b"].double()
    torch.testing.assert_close(update(module).mT, expected)


def test_every_expert_is_a_module_and_comes_back(tmp_path: Path) -> None:
    a, b = normal(3, 2, 5), normal(3, 6, 2, seed=1)  # (E, r, in), (E, m, r)
    adapter = load(mlx_folder(tmp_path / "a", {f"{EXPERTS}.lora_a": a, f"{EXPERTS}.lora_b": b}, scale=0.5))
    assert list(adapter.modules) == [f"{EXPERTS}#{e}" for e in range(3)]
    for e in range(3):
        torch.testing.assert_close(update(adapter.modules[f"{EXPERTS}#{e}"]), 0.5 * b[e].double() @ a[e].double())
    again = save(adapter, tmp_path / "again")
    tensors = load_file(again / "adapters.safetensors")
    assert torch.equal(tensors[f"{EXPERTS}.lora_a"], a) and torch.equal(tensors[f"{EXPERTS}.lora_b"], b)
    same_updates(load(again), adapter)


def test_ranks_and_scales_that_differ_become_one(tmp_path: Path) -> None:
    modules = {
        Q: Module(Q, normal(6, 3), normal(3, 5), 0.5),
        "lm_head": Module("lm_head", normal(7, 1), normal(1, 5), -3.0),
    }
    written = save(Adapter("mlx", modules, config={"model": "m"}), tmp_path / "out")
    computed = computed_by_mlx(written)
    for name, module in modules.items():
        torch.testing.assert_close(computed[name], update(module), rtol=1e-6, atol=1e-6)
    config = json.loads((written / "adapter_config.json").read_text())
    assert config["model"] == "m" and config["num_layers"] == -1
    assert config["lora_parameters"]["keys"] == ["lm_head", "self_attn.q_proj"]


def test_from_peft_and_back_is_the_identity(tmp_path: Path) -> None:
    before = peft_adapter()
    written = save(convert(before, target="mlx").adapter, tmp_path / "mlx")
    for name, module in before.modules.items():
        torch.testing.assert_close(computed_by_mlx(written)[name], update(module), rtol=1e-6, atol=1e-6)
    same_updates(load(save(convert(written, format="peft").adapter, tmp_path / "peft")), before)


def test_two_merge_and_a_peft_adapter_joins(tmp_path: Path) -> None:
    one = mlx_folder(tmp_path / "one", pair(), scale=2.0)
    other = Adapter("peft", {Q: Module(Q, normal(6, 2, seed=5), normal(2, 5, seed=6), 1.0)})
    for first, second in ((one, other), (other, one)):
        result = merge([first, second], weights=[0.5, 0.25], core="sum", rank="max").adapter
        inputs = [load(item) if isinstance(item, Path) else item for item in (first, second)]
        expected = 0.5 * update(inputs[0].modules[Q]) + 0.25 * update(inputs[1].modules[Q])
        torch.testing.assert_close(update(result.modules[Q]), expected, rtol=1e-5, atol=1e-5)
        assert result.format == inputs[0].format


def test_dora_needs_the_base_model(tmp_path: Path) -> None:
    weight, magnitude = normal(6, 5, seed=3), normal(6, seed=4).abs()
    folder = mlx_folder(tmp_path / "a", {**pair(), f"{Q}.m": magnitude}, scale=2.0, fine_tune_type="dora")
    with pytest.raises(LorafoldError, match="DoRA"):
        load(folder)
    save_file({f"{Q}.weight": weight}, tmp_path / "base.safetensors")
    module = load(folder, base=tmp_path / "base.safetensors").modules[Q]
    full = weight.double() + 2 * (pair()[f"{Q}.lora_a"].double() @ pair()[f"{Q}.lora_b"].double()).mT
    expected = magnitude.double()[:, None] / full.norm(dim=1, keepdim=True) * full - weight.double()
    torch.testing.assert_close(update(module), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"fine_tune_type": "full"}, "fine_tune_type 'full'"),
        ({"lora_parameters": None}, "scale None"),
        ({"lora_parameters": {"rank": 2, "alpha": 16}}, "scale None"),
        ({"lora_parameters": {"scale": True}}, "scale True"),
        ({"lora_parameters": {"scale": float("nan")}}, "scale nan"),
    ],
)
def test_a_configuration_without_a_scale_is_refused(tmp_path: Path, config: dict[str, Any], problem: str) -> None:
    with pytest.raises(LorafoldError, match=problem):
        load(mlx_folder(tmp_path / "a", pair(), **config))


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({f"{Q}.lora_a": normal(5, 2)}, "there is no lora_b"),
        ({f"{Q}.lora_a": normal(5, 2), f"{Q}.lora_b": normal(3, 6)}, "rank 3 .* has rank 2"),
        ({f"{Q}.lora_a": normal(5, 2), f"{Q}.lora_b": normal(2, 2, 6)}, "expected two matrices"),
        ({f"{Q}.lora_a": normal(5), f"{Q}.lora_b": normal(2)}, "expected two matrices"),
        ({**pair(), "model.norm.weight": normal(5)}, "model.norm.weight: not a tensor that lorafold knows"),
        ({**pair(EMBEDDING), f"{EMBEDDING}.m": normal(5)}, "embed_tokens.m: not a tensor"),
        ({f"{Q}.lora_a": normal(5, 2).int(), f"{Q}.lora_b": normal(2, 6)}, "dtype torch.int32"),
    ],
)
def test_damaged_tensors_are_refused(tmp_path: Path, tensors: dict[str, Tensor], problem: str) -> None:
    with pytest.raises(LorafoldError, match=problem):
        load(mlx_folder(tmp_path / "a", tensors))


@pytest.mark.parametrize(
    ("name", "parts", "problem"),
    [
        ("transformer_blocks.0.attn.to_q", {}, "MLX has no such layer"),
        ("model.layers.0.experts#0", {}, "MLX has no such layer"),
        ("model.h.0.attn.c_attn", {}, "MLX has no such layer"),  # which transformers calls otherwise
        (Q, {"bias": normal(6)}, "a LoRA bias"),
        (Q, {"kernel": (1,), "kind": "conv"}, "MLX has no such layer"),
    ],
)
def test_what_mlx_has_no_place_for_is_refused(name: str, parts: dict[str, Any], problem: str) -> None:
    adapter = Adapter("peft", {name: Module(name, normal(6, 2), normal(2, 5), 1.0, **parts)})
    with pytest.raises(LorafoldError, match=problem):
        convert(adapter, format="mlx")
