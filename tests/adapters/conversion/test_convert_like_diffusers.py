"""kohya and ComfyUI files, converted, against what diffusers' own LoRA converters make of the same tensors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorafold.adapters import Adapter, Module, load, save
from lorafold.adapters.conversion.convert import in_format, usual_style
from lorafold.adapters.naming import ARCHITECTURES, Naming, places
from tests.adapters.samples import normal, update

pytest.importorskip("diffusers")

# Layers outside the blocks of Flux: diffusers forgets their component, so that it never applies them.
_FORGOTTEN = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in", "final_layer")


def full_adapter(architecture: str, form: str, inner: int = 1) -> Adapter:
    """Every layer of the denoiser and CLIP text encoders, rank 2, each with its own scale."""
    style = ARCHITECTURES[architecture]().kohya if form == "kohya" else form
    modules = {}
    for index, (name, place) in enumerate(places(architecture, style).items()):
        if place.component not in ("unet", "transformer", "text_encoder", "text_encoder_2") or "encoder_block" in name:
            continue
        m = inner * (sum(place.entry.shares) if place.part is None else 1)
        scale = 1 / (1 + index % 7)
        modules[name] = Module(name, normal(m, 2, seed=index), normal(2, 3, seed=index + 1), scale)
    return Adapter(form, modules)


def without(adapter: Adapter, *parts: str) -> Adapter:
    kept = {name: module for name, module in adapter.modules.items() if not any(part in name for part in parts)}
    return Adapter(adapter.format, kept)


def through_diffusers(architecture: str, form: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that the pipeline goes on with."""
    from diffusers.loaders import lora_conversion_utils as code

    if architecture == "flux":
        return code._convert_kohya_flux_lora_to_diffusers(tensors)
    if architecture == "wan":
        musubi, others = code._convert_musubi_wan_lora_to_diffusers, code._convert_non_diffusers_wan_lora_to_diffusers
        return (musubi if form == "kohya" else others)(tensors)
    if architecture == "sdxl":
        tensors = code._maybe_map_sgm_blocks_to_diffusers(tensors, SimpleNamespace(layers_per_block=2))
    return code._convert_non_diffusers_lora_to_diffusers(tensors)[0]


@pytest.mark.parametrize(
    ("architecture", "form", "inner", "left_out"),
    [
        ("sd", "kohya", 1, ()),
        ("sdxl", "kohya", 1, ()),
        ("flux", "kohya", 3072, (*_FORGOTTEN, "text_projection")),
        ("wan", "kohya", 1, ("patch_embedding", "text_embedding", "time_", "img_emb", "head")),
        ("wan", "comfyui", 1, ("patch_embedding",)),
    ],
)
def test_diffusers_reads_the_same(
    architecture: str, form: str, inner: int, left_out: tuple[str, ...], tmp_path: Path
) -> None:
    adapter = without(full_adapter(architecture, form, inner), *left_out)
    theirs = through_diffusers(architecture, form, load_file(save(adapter, tmp_path / "a.safetensors")))
    scaled = architecture in ("flux", "wan")  # else alphas stand apart, and are not compared
    save_file({key: tensor.contiguous().clone() for key, tensor in theirs.items()}, tmp_path / "b.safetensors")
    expected = load(tmp_path / "b.safetensors").modules
    mine = in_format(
        adapter, Naming(architecture, usual_style(form, Naming(architecture, ""))), "diffusers", "diffusers"
    ).modules
    assert mine.keys() == expected.keys()
    for name, module in mine.items():
        delta, factor = update(module), 1.0 if scaled else module.scale
        bound = module.scale * (module.up.double().abs() @ module.down.double().abs())
        assert ((delta - factor * update(expected[name])).abs() <= 2**-22 * bound).all(), name


def test_no_tensor_is_random_twice() -> None:
    """The comparison above would not notice two exchanged layers with equal numbers."""
    modules = full_adapter("sd", "kohya").modules.values()
    assert len({module.up.numpy().tobytes() + module.down.numpy().tobytes() for module in modules}) == len(modules)
    assert all(torch.isfinite(module.up).all() for module in modules)
