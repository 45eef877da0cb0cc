"""XLabs' Flux LoRA: the layers that diffusers' own converter makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorafold.adapters import load, save
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.convert.pipeline import convert
from tests.adapters.samples import normal, update

LAYERS = [f"double_blocks.{i}.processor.{kind}_lora{j}" for i in (0, 1) for kind in ("qkv", "proj") for j in (1, 2)]
LAYERS += ["single_blocks.3.processor.qkv_lora", "single_blocks.3.processor.proj_lora"]


def tensors(prefix: str = "") -> dict[str, Tensor]:
    made: dict[str, Tensor] = {}
    for seed, name in enumerate(LAYERS):
        m, n = (12 if "qkv" in name else 4), (20 if name.endswith("proj_lora") else 4)
        made |= {
            f"{prefix}{name}.down.weight": normal(2, n, seed=seed),
            f"{prefix}{name}.up.weight": normal(m, 2, seed=seed),
        }
    return made


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_it_is_what_diffusers_reads(tmp_path: Path, prefix: str) -> None:
    converters = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    save_file(tensors(prefix), tmp_path / "a.safetensors")
    adapter = load(tmp_path / "a.safetensors")
    theirs = converters._convert_xlabs_flux_lora_to_diffusers(tensors(prefix))
    assert {f"{name}.lora_{side}.weight" for name in adapter.modules for side in "AB"} == theirs.keys()
    for name, module in adapter.modules.items():
        expected = theirs[f"{name}.lora_B.weight"].double() @ theirs[f"{name}.lora_A.weight"].double()
        assert torch.equal(update(module), expected)


def test_it_is_written_as_diffusers_and_converted(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "a.safetensors")
    adapter = load(tmp_path / "a.safetensors")
    again = load_file(save(adapter, tmp_path / "b.safetensors"))
    assert "transformer.single_transformer_blocks.3.proj_out.lora_A.weight" in again
    fused = convert(adapter, format="kohya", model="flux").adapter.modules["lora_unet_double_blocks_0_img_attn_qkv"]
    whole = tensors()["double_blocks.0.processor.qkv_lora1.up.weight"].double()
    torch.testing.assert_close(
        update(fused), whole @ tensors()["double_blocks.0.processor.qkv_lora1.down.weight"].double()
    )


@pytest.mark.parametrize(
    ("key", "shape", "problem"),
    [
        ("double_blocks.0.processor.qkv_lora1.up.weight", (10, 2), "expected rows for 3 layers"),
        ("double_blocks.0.processor.qkv_lora.up.weight", (12, 2), "not a tensor that lorafold knows"),
        ("double_blocks.0.norm.weight", (4,), "not a tensor that lorafold knows"),
    ],
)
def test_what_is_none_of_its_layers_is_refused(tmp_path: Path, key: str, shape: tuple[int, ...], problem: str) -> None:
    save_file({**tensors(), key: normal(*shape)}, tmp_path / "a.safetensors")
    with pytest.raises(LorafoldError, match=problem):
        load(tmp_path / "a.safetensors")
