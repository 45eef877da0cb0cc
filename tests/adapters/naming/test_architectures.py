"""The dictionaries against diffusers: its models' own layers, and its converters of original checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters.conversion.convert import in_format
from lorafold.adapters.naming import ARCHITECTURES, Naming

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

_XL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_SD3 = {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "dual_attention_layers": (0, 37)}
_HIDREAM = {
    "patch_size": 2,
    "num_layers": 16,
    "num_single_layers": 32,
    "caption_channels": [4096, 4096],
    "llama_layers": list(range(48)),
    "max_resolution": (128, 128),
}
_WAN = {"num_layers": 40, "image_dim": 1280, "added_kv_proj_dim": 5120}
MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "sd": lambda: diffusers.UNet2DConditionModel(cross_attention_dim=768),
    "sdxl": lambda: diffusers.UNet2DConditionModel(**_XL),
    "flux": lambda: diffusers.FluxTransformer2DModel(guidance_embeds=True),
    "sd3": lambda: diffusers.SD3Transformer2DModel(**_SD3),
    "wan": lambda: diffusers.WanTransformer3DModel(**_WAN),
    "flux2": lambda: diffusers.Flux2Transformer2DModel(num_layers=8, num_single_layers=48),
    "chroma": lambda: diffusers.ChromaTransformer2DModel(),
    "qwen": lambda: diffusers.QwenImageTransformer2DModel(),
    "zimage": lambda: diffusers.ZImageTransformer2DModel(),
    "lumina2": lambda: diffusers.Lumina2Transformer2DModel(),
    "auraflow": lambda: diffusers.AuraFlowTransformer2DModel(),
    "hunyuan": lambda: diffusers.HunyuanVideoTransformer3DModel(),
    "hidream": lambda: diffusers.HiDreamImageTransformer2DModel(**_HIDREAM),
    "ltx": lambda: diffusers.LTXVideoTransformer3DModel(num_layers=48),
}
# Layers in the dictionaries that only some models of the family have.
_SOME = ("conv_shortcut", ".attn2.", "transformer_blocks.37.")


def layers(model: torch.nn.Module) -> dict[str, Tensor]:
    kinds = torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d
    return {name: module.weight for name, module in model.named_modules() if isinstance(module, kinds)}


@pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated")  # by diffusers, of its own Chroma
@pytest.mark.parametrize("architecture", MODELS)
def test_the_layers_are_those_of_the_model_in_full_size(architecture: str) -> None:
    with torch.device("meta"):
        model = layers(MODELS[architecture]())
    entries = ARCHITECTURES[architecture]().components[0].entries
    known = [path for entry in entries for path in entry.diffusers]
    assert len(set(known)) == len(known)
    assert model.keys() <= set(known)
    assert all(any(part in path for part in _SOME) for path in set(known) - model.keys())
    for entry in entries:
        if len(entry.diffusers) > 1 and entry.diffusers[0] in model:
            rows = [model[path].shape[0] for path in entry.diffusers]
            assert [row * sum(entry.shares) for row in rows] == [sum(rows) * share for share in entry.shares]
            assert len({model[path].shape[1] for path in entry.diffusers}) == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_originals_are_distinct(architecture: str) -> None:
    for component in ARCHITECTURES[architecture]().components:
        originals = [entry.original for entry in component.entries]
        assert len(set(originals)) == len(originals)


def test_text_encoders_have_the_layers_of_transformers() -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "vocab_size": 10, "projection_dim": 4}
    clip = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**sizes, num_hidden_layers=32))
    t5 = transformers.T5Config(d_model=8, d_kv=4, num_heads=2, d_ff=8, vocab_size=10, feed_forward_proj="gated-gelu")
    t5.num_layers = 24
    sd3 = {component.name: component for component in ARCHITECTURES["sd3"]().components}
    for name, model in (("text_encoder_2", clip), ("text_encoder_3", transformers.T5EncoderModel(t5))):
        assert {path for entry in sd3[name].entries for path in entry.diffusers} == layers(model).keys()


# What the last block of SD3 does not have, and diffusers therefore drops.
UNUSED = ("transformer_blocks.37.attn.to_add_out", "transformer_blocks.37.ff_context")


class Lenient(dict[str, Tensor]):
    """A checkpoint in which only the weights of interest are there; diffusers' converters ask for all."""

    def pop(self, key: str, *default: Any) -> Tensor:
        return super().pop(key) if key in self else torch.empty(2, 1)


def original_checkpoint(architecture: str, inner: int) -> dict[str, Tensor]:
    """A weight (m, 1) of random rows for every layer of the original code.

    One input makes two rows a norm with two halves; in SD3 only the last block's norm of the context is one.
    """
    found = {}
    for index, entry in enumerate(ARCHITECTURES[architecture]().components[0].entries):
        six = "context_block" in entry.original and ".37." not in entry.original
        m = (6 if six else 2) if entry.halves_swapped else inner * sum(entry.shares)
        found[entry.original] = torch.randn(m, 1, generator=torch.Generator().manual_seed(index))
    return found


def converted(architecture: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """By diffusers' code for single-file checkpoints."""
    from diffusers.loaders import single_file_utils as code

    prefix = "model.diffusion_model." if architecture in ("sd", "sdxl") else ""
    kinds = ("weight", "bias")
    checkpoint = Lenient({f"{prefix}{path}.{kind}": weight for path, weight in weights.items() for kind in kinds})
    if architecture in ("sd", "sdxl"):
        config = {"layers_per_block": 2} | ({"addition_embed_type": "text_time"} if architecture == "sdxl" else {})
        return code.convert_ldm_unet_checkpoint(checkpoint, config)
    functions: dict[str, Callable[..., dict[str, Tensor]]] = {
        "flux2": code.convert_flux2_transformer_checkpoint_to_diffusers,
        "chroma": code.convert_chroma_transformer_checkpoint_to_diffusers,
        "zimage": code.convert_z_image_transformer_checkpoint_to_diffusers,
        "lumina2": code.convert_lumina2_to_diffusers,
        "auraflow": code.convert_auraflow_transformer_checkpoint_to_diffusers,
        "hunyuan": code.convert_hunyuan_video_transformer_to_diffusers,
        "ltx": code.convert_ltx_transformer_checkpoint_to_diffusers,
        "flux": code.convert_flux_transformer_checkpoint_to_diffusers,
        "sd3": code.convert_sd3_transformer_checkpoint_to_diffusers,
        "wan": code.convert_wan_transformer_to_diffusers,
    }
    return functions[architecture](checkpoint)


@pytest.mark.parametrize(
    ("architecture", "inner"),
    [
        ("sd", 1),
        ("sdxl", 1),
        ("flux", 3072),
        ("sd3", 1),
        ("wan", 1),
        ("flux2", 1),
        ("chroma", 3072),
        ("zimage", 1),
        ("lumina2", 768),
        ("auraflow", 1),
        ("hunyuan", 3072),
        ("ltx", 1),
    ],
    ids=str,
)
def test_weights_go_where_diffusers_puts_them(architecture: str, inner: int) -> None:
    """A rank-1 update that *is* the weight, converted as an adapter and as a checkpoint."""
    weights = original_checkpoint(architecture, inner)
    one = torch.ones(1, 1)
    modules = {f"diffusion_model.{path}": Module(f"diffusion_model.{path}", w, one, 1.0) for path, w in weights.items()}
    naming = Naming(architecture, "comfyui")
    mine = in_format(Adapter("comfyui", modules), naming, "diffusers", "diffusers").modules
    theirs = converted(architecture, weights)
    component = ARCHITECTURES[architecture]().components[0].name
    for name, module in mine.items():
        key = f"{name.removeprefix(component + '.')}.weight"
        if key in theirs or not key.startswith(UNUSED):
            assert torch.equal(module.up @ module.down, theirs[key]), name
    assert len(mine) == sum(len(entry.diffusers) for entry in ARCHITECTURES[architecture]().components[0].entries)
