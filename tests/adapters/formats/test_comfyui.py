"""ComfyUI's files: names of the original code, alpha beside lora_A and lora_B, additive tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lorafold.adapters import Adapter, Module, load, save
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import kohya_file, normal, update

NAME = "diffusion_model.blocks.0.self_attn.q"


def pair(name: str = NAME) -> dict[str, torch.Tensor]:
    return {f"{name}.lora_A.weight": normal(2, 5), f"{name}.lora_B.weight": normal(6, 2, seed=1)}


@pytest.mark.parametrize(("alpha", "scale"), [({}, 1.0), ({f"{NAME}.alpha": torch.tensor(3.0)}, 1.5)])
def test_scale_is_alpha_over_rank(tmp_path: Path, alpha: dict, scale: float) -> None:
    adapter = load(kohya_file(tmp_path / "a.safetensors", pair() | alpha))
    assert (adapter.format, list(adapter.modules)) == ("comfyui", [NAME])
    assert adapter.modules[NAME].scale == scale


def test_a_file_comes_back_with_its_additive_tensors(tmp_path: Path) -> None:
    clip = "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"
    tensors = pair() | pair(clip) | {f"{NAME}.diff_b": normal(6), f"{NAME}.alpha": torch.tensor(0.5)}
    before = load(kohya_file(tmp_path / "a.safetensors", tensors))
    path = save(before, tmp_path / "b.safetensors")
    after = load(path)
    assert list(after.modules) == [NAME, clip] and torch.equal(after.deltas[f"{NAME}.diff_b"], normal(6))
    assert not any(key.endswith(".alpha") for key in load_file(path))
    for name, module in before.modules.items():
        torch.testing.assert_close(update(after.modules[name]), update(module), rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    ("adapter", "problem"),
    [
        (Adapter("comfyui", {"unet.a": Module("unet.a", normal(3, 1), normal(1, 2), 1.0)}), "unet. in front, where a"),
        (
            Adapter("comfyui", {NAME: Module(NAME, normal(3, 1), normal(1, 2), 1.0, bias=normal(3))}),
            "neither a LoRA bias nor an embedding",
        ),
        (
            Adapter("comfyui", {NAME: Module(NAME, normal(3, 1), normal(1, 2), 1.0, kind="embedding")}),
            "neither a LoRA bias nor an embedding",
        ),
        (
            Adapter("comfyui", {NAME: Module(NAME, normal(3, 1), normal(1, 2), 1.0)}, extras={"h": normal(2)}),
            "cannot hold whole weights",
        ),
    ],
)
def test_what_a_file_cannot_hold_is_not_written(tmp_path: Path, adapter: Adapter, problem: str) -> None:
    with pytest.raises(LorafoldError, match=problem):
        save(adapter, tmp_path / "a.safetensors")


def test_unknown_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LorafoldError, match="not a tensor that lorafold knows"):
        load(kohya_file(tmp_path / "a.safetensors", pair() | {f"{NAME}.weight": normal(2)}))


@pytest.mark.parametrize("adapter", ["", "default."])
@pytest.mark.parametrize("name", ["blocks.0.self_attn.q", "transformer_blocks.0.attn.to_q", "model.diffusion_model.x"])
def test_layers_without_anything_in_front_are_read_and_written_so(tmp_path: Path, name: str, adapter: str) -> None:
    tensors = {f"{name}.lora_A.{adapter}weight": normal(2, 5), f"{name}.lora_B.{adapter}weight": normal(6, 2, seed=1)}
    before = load(kohya_file(tmp_path / "a.safetensors", tensors))
    assert (before.format, list(before.modules)) == ("comfyui", [name])
    assert load_file(save(before, tmp_path / "b.safetensors")).keys() == pair(name).keys()
