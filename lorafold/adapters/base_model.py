"""Which base model an adapter belongs to: as its metadata say, else as names and widths of its layers suggest."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lorafold.adapters.adapter import Adapter, Module


@dataclass(frozen=True)
class Family:
    """What kohya's tools write about an adapter for a base model of theirs.

    Args:
        name: as people say it.
        architecture: `modelspec.architecture`, without "/lora".
        implementation: `modelspec.implementation`.
        resolution: `modelspec.resolution` where an adapter does not tell.
        version: `ss_base_model_version`; None: there is more than one.
        network: `ss_network_module`.
    """

    name: str
    architecture: str
    implementation: str
    resolution: str
    version: str | None
    network: str = "networks.lora"


@dataclass(frozen=True)
class BaseModel:
    """A guess, what it rests on, and the family if it is a known one."""

    name: str
    evidence: str
    family: Family | None = None


_STABILITY = "https://github.com/Stability-AI/generative-models"
_BLACK_FOREST = "https://github.com/black-forest-labs/flux"
SD1 = Family("Stable Diffusion 1", "stable-diffusion-v1", "diffusers", "512x512", "sd_v1")
SD2 = Family("Stable Diffusion 2", "stable-diffusion-v2-512", "diffusers", "512x512", "sd_v2")
SD2_V = Family("Stable Diffusion 2 (v)", "stable-diffusion-v2-768-v", "diffusers", "768x768", "sd_v2_v")
SDXL = Family("SDXL", "stable-diffusion-xl-v1-base", _STABILITY, "1024x1024", "sdxl_base_v1-0")
SD3 = Family("Stable Diffusion 3", "stable-diffusion-3", "diffusers", "1024x1024", None, "networks.lora_sd3")
FLUX = Family("Flux 1", "flux-1", _BLACK_FOREST, "1024x1024", "flux1", "networks.lora_flux")
_WAN_CODE = "https://github.com/Wan-Video/Wan2.1"
WAN = Family("Wan 2", "wan2.1", _WAN_CODE, "1280x720", "wan", "networks.lora_wan")

# What metadata call them, the more specific first.
_TITLES = tuple(
    (re.compile(pattern, re.IGNORECASE), family)
    for pattern, family in (
        (r"sdxl|stable-diffusion-xl", SDXL),
        (r"sd[-_]?3|stable-diffusion-3", SD3),
        (r"sd_v2_v|v2-768-v", SD2_V),
        (r"sd[-_]?v?2|stable-diffusion-v?2", SD2),
        (r"sd[-_]?v?1|stable-diffusion-v?1", SD1),
        (r"flux[-_.]?1", FLUX),
        (r"\bwan(?:$|[-_ ]?2)", WAN),
    )
)
# A layer by name, the inputs it has then (None: any), and what it is part of: tried in this order, so that what only
# one model has comes first. Names are those of kohya, diffusers, ComfyUI and PEFT, hence the two separators.
_LAYERS: tuple[tuple[str, frozenset[int] | None, Family | str], ...] = (
    (r"(double_blocks[._]19|single_(transformer_)?blocks[._]3[89])[._]", None, "HunyuanVideo"),
    (r"single_(transformer_)?blocks[._]\d+[._]", frozenset({3072, 12288, 15360}), FLUX),
    (r"double_blocks[._]\d+[._]", frozenset({3072, 12288}), FLUX),
    (r"joint_blocks[._]\d+[._]", None, SD3),
    (r"transformer_blocks[._]\d+[._]attn[._]add_[qkv]_proj$", frozenset({1536, 2432}), SD3),
    (r"transformer_blocks[._]\d+[._]attn[._]add_[qkv]_proj$", frozenset({3072}), FLUX),
    (r"(^|[._])blocks[._]\d+[._](self|cross)_attn[._][qkvo]$", None, WAN),
    (r"^(transformer\.)?blocks\.\d+\.attn[12]\.to_[qkv]$", None, WAN),
    (r"attn2[._]to_[kv]$", frozenset({2048}), SDXL),
    (r"attn2[._]to_[kv]$", frozenset({1024}), SD2),
    (r"attn2[._]to_[kv]$", frozenset({768}), SD1),
    (r"attentions[._]\d+[._]transformer_blocks[._][1-9][._]", None, SDXL),
    (r"_blocks?[._]\d+[._](\d+[._])?transformer_blocks[._][1-9][._]", None, SDXL),
    (r"^(lora_te2_text_model|text_encoder_2\.text_model)", frozenset({1280, 5120}), SDXL),
    (r"^lora_te_text_model", frozenset({768, 3072}), SD1),
    (r"^lora_te_text_model", frozenset({1024, 4096}), SD2),
    (r"(^|[._])(down|up|input|output)_blocks[._]", None, "a U-Net of Stable Diffusion"),
    (r"(^|\.)encoder\.layer\.\d+\.(attention|intermediate)", None, "a BERT-like encoder"),
    (r"(^|\.)h\.\d+\.(attn|mlp)\.", None, "a GPT-2-like language model"),
    (r"\.(SelfAttention|EncDecAttention|DenseReluDense)\.", None, "a T5-like model"),
    (r"(^|\.)layers\.\d+\.self_attn\.[qkvo]_proj$", None, "a Llama-like language model"),
)
_SIZES = (r"(attention\.self\.query|attn\.c_attn|SelfAttention\.q|layers\.\d+\.self_attn\.q_proj)$",)


def base_model(adapter: Adapter) -> BaseModel | None:
    """The base model that an adapter names, else the one that its layers fit; None where nothing does."""
    stated = {key: adapter.metadata.get(key) for key in ("ss_base_model_version", "modelspec.architecture")}
    stated["base_model_name_or_path"] = adapter.config.get("base_model_name_or_path")
    for key, value in stated.items():
        if value and isinstance(value, str):
            family = next((family for pattern, family in _TITLES if pattern.search(value)), None)
            name = family.name if family and key != "base_model_name_or_path" else value
            return BaseModel(name, f"{key} {value}" if name != value else key, family)
    return _by_layers(adapter.modules)


def _by_layers(modules: Mapping[str, Module]) -> BaseModel | None:
    for pattern, widths, found in _LAYERS:
        regex = re.compile(pattern)
        for name, module in modules.items():
            if regex.search(name) and (widths is None or module.shape[1] in widths):
                family = found if isinstance(found, Family) else None
                title = found.name if isinstance(found, Family) else f"{found}{_width(modules.values())}"
                return BaseModel(title, "names and widths of the layers", family)
    return None


def _width(modules: Collection[Module]) -> str:
    """How wide a language model is, if a layer tells."""
    widths = {module.shape[1] for module in modules if any(re.search(size, module.name) for size in _SIZES)}
    return f" of width {widths.pop()}" if len(widths) == 1 else ""
