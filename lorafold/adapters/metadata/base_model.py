"""Which base model an adapter belongs to: as its metadata say, else as names and widths of its layers suggest."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.module import Module


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
    """A guess.

    Args:
        name: of the base model, as metadata or lorafold call it.
        evidence: what the guess rests on.
        family: if it is a known one.
        fits: the architectures that it may be; empty: any.
    """

    name: str
    evidence: str
    family: Family | None = None
    fits: frozenset[str] = frozenset()


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

# Architectures that adapters of kohya's first tools do not know.
FLUX2, CHROMA, HUNYUAN, QWEN = "Flux 2", "Chroma", "HunyuanVideo", "Qwen-Image"
Z_IMAGE, LUMINA, AURAFLOW, LTX = "Z-Image", "Lumina 2", "AuraFlow", "LTX-Video"
# What metadata call them, the more specific first.
_TITLES: tuple[tuple[re.Pattern[str], Family | str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), base)
    for pattern, base in (
        (r"sdxl|stable-diffusion-xl", SDXL),
        (r"sd[-_]?3|stable-diffusion-3", SD3),
        (r"sd_v2_v|v2-768-v", SD2_V),
        (r"sd[-_]?v?2|stable-diffusion-v?2", SD2),
        (r"sd[-_]?v?1|stable-diffusion-v?1", SD1),
        (r"flux[-_.]?1", FLUX),
        (r"flux[-_.]?2", FLUX2),
        (r"chroma", CHROMA),
        (r"qwen[-_]?image", QWEN),
        (r"hunyuan[-_]?video$", HUNYUAN),
        (r"\bwan(?:$|[-_ ]?2)", WAN),
        (r"z[-_ ]?image", Z_IMAGE),
        (r"lumina[-_ ]?(image[-_ ]?)?2", LUMINA),
        (r"aura[-_ ]?flow", AURAFLOW),
        (r"ltx[-_ ]?(video[-_ ]?)?2", "LTX-2"),
        (r"\bltx", LTX),
        (r"hidream", "HiDream"),
        (r"pixart", "PixArt"),
        (r"\bsana", "Sana"),
        (r"cogvideo", "CogVideoX"),
        (r"cosmos", "Cosmos"),
    )
)


@dataclass(frozen=True)
class _Sign:
    """A layer that tells the base model.

    Args:
        name: a regular expression.
        widths: the inputs that it has then; None: any.
        base: what it is part of.
        also: further ones that have such a layer.
        ratio: its outputs to its inputs; None: any.
    """

    name: str
    widths: frozenset[int] | None
    base: Family | str
    also: tuple[Family | str, ...] = ()
    ratio: tuple[int, int] | None = None

    def fits(self, module: Module) -> bool:
        """Whether a layer of the name has its shape."""
        (m, n), (a, b) = module.shape, self.ratio or (0, 0)
        return (self.widths is None or n in self.widths) and m * b == n * a


def _widths(*widths: int) -> frozenset[int]:
    return frozenset(widths)


_UNET = r"(?:(?:down|up|input|output)_blocks|mid_block|middle_block)[._]"
_ADDED = r"transformer_blocks[._]\d+[._]attn[._]add_[qkv]_proj$"
_CLIP_L = (SD1, SDXL, SD3, FLUX)  # have this text encoder in common
_LIKE_FLUX = (FLUX2, CHROMA, HUNYUAN, AURAFLOW)  # have names of Flux 1, and some its width
# Tried in this order, so that what only one model has comes first. Names are those of kohya, diffusers, ComfyUI and
# PEFT, hence the two separators.
_SIGNS = (
    _Sign(r"double_blocks[._]19[._]", None, HUNYUAN),
    _Sign(r"single_(transformer_)?blocks[._]3[89][._]", _widths(3072, 12288, 15360), HUNYUAN),
    _Sign(r"to_qkv_mlp_proj|ff(_context)?[._]linear_(in|out)$", None, FLUX2),
    _Sign(r"single_blocks[._]\d+[._]linear1$", None, FLUX2, ratio=(9, 1)),
    _Sign(r"single_blocks[._]\d+[._]linear2$", None, FLUX2, ratio=(1, 4)),
    _Sign(r"double_blocks[._]\d+[._](img|txt)_mlp[._]0$", None, FLUX2, ratio=(6, 1)),
    _Sign(r"(double|single)_stream_blocks[._]\d+[._]block[._]", None, "HiDream"),
    _Sign(r"distilled_guidance_layer[._]", None, CHROMA),
    _Sign(r"(^|[._])single_layers[._]\d+[._]|joint_transformer_blocks[._]", None, AURAFLOW),
    _Sign(r"(layers|noise_refiner|context_refiner)[._]\d+[._]attention[._]to_[qkv]$", None, Z_IMAGE),
    _Sign(r"single_(transformer_)?blocks[._]\d+[._]", _widths(3072, 12288, 15360), FLUX, _LIKE_FLUX),
    _Sign(r"double_blocks[._]\d+[._]", _widths(3072, 12288), FLUX, _LIKE_FLUX),
    _Sign(r"(single|double)_blocks[._]\d+[._]", _widths(4096, 6144, 16384, 24576), FLUX2),
    _Sign(r"joint_blocks[._]\d+[._]", None, SD3),
    _Sign(r"(^|[._])transformer_blocks[._][2-5]\d[._]attn[._]", _widths(3072), QWEN),
    _Sign(r"(^|[._])transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)[._]", None, QWEN),
    _Sign(_ADDED, _widths(1536, 2432), SD3),
    _Sign(_ADDED, _widths(3072), FLUX, (*_LIKE_FLUX, QWEN)),
    _Sign(r"(^|[._])blocks[._]\d+[._](self|cross)_attn[._][qkvo]$", None, WAN),
    _Sign(r"^(transformer\.)?blocks\.\d+\.attn[12]\.to_[qkv]$", None, WAN),
    _Sign(rf"{_UNET}.*attn2[._]to_[kv]$", _widths(2048), SDXL),
    _Sign(rf"{_UNET}.*attn2[._]to_[kv]$", _widths(1024), SD2),
    _Sign(rf"{_UNET}.*attn2[._]to_[kv]$", _widths(768), SD1),
    _Sign(r"attentions[._]\d+[._]transformer_blocks[._][1-9][._]", None, SDXL),
    _Sign(r"_blocks?[._]\d+[._](\d+[._])?transformer_blocks[._][1-9][._]", None, SDXL),
    _Sign(r"^(lora_te2_text_model|text_encoder_2\.text_model)", _widths(1280, 5120), SDXL, (SD3,)),
    _Sign(r"^lora_te_text_model", _widths(768, 3072), SD1, _CLIP_L),
    _Sign(r"^(lora_te_|text_encoder\.)text_model", _widths(1024, 4096), SD2),
    _Sign(rf"(^|[._]){_UNET}", None, "a U-Net of Stable Diffusion", (SD1, SD2, SDXL)),
    _Sign(r"^(lora_te1_|text_encoder\.|text_encoders\.clip_l\.)", _widths(768, 3072), "a CLIP text encoder", _CLIP_L),
    _Sign(r"(^|\.)encoder\.layer\.\d+\.(attention|intermediate)", None, "a BERT-like encoder"),
    _Sign(r"(^|\.)h\.\d+\.(attn|mlp)\.", None, "a GPT-2-like language model"),
    _Sign(r"^(?!text_encoder).*\.(SelfAttention|EncDecAttention|DenseReluDense)\.", None, "a T5-like model"),
    _Sign(r"^(?!text_encoder)(.*\.)?layers\.\d+\.self_attn\.[qkvo]_proj$", None, "a Llama-like language model"),
    _Sign(r"^blk\.\d+\.attn_|^layers\.\d+\.attn\.[qkv]_proj$", None, "a Llama-like language model"),
)
# Layers whose inputs are as many as a language model is wide.
_SIZES = re.compile(
    r"(attention\.self\.(query|key|value)|attn\.c_attn|SelfAttention\.[qkv]|layers\.\d+\.(self_)?attn\.[qkv]_proj|blk\.\d+\.attn_[qkv])$"
)
_STATED = ("ss_base_model_version", "modelspec.architecture")


def base_model(adapter: Adapter) -> BaseModel | None:
    """The base model that an adapter names, else the one that its layers fit; None where nothing does."""
    return stated_base(adapter) or _named_base(adapter) or base_of_layers(adapter)


def stated_base(adapter: Adapter) -> BaseModel | None:
    """What the metadata say that the architecture is."""
    for key in _STATED:
        if value := adapter.metadata.get(key):
            base = _titled(value)
            name = base.name if isinstance(base, Family) else value
            family = base if isinstance(base, Family) else None
            return BaseModel(name, f"{key} {value}" if name != value else key, family, _fits(base))
    return None


def base_of_layers(adapter: Adapter) -> BaseModel | None:
    """What the names and widths of the layers say."""
    for sign in _SIGNS:
        regex = re.compile(sign.name)
        for name, module in adapter.modules.items():
            if regex.search(name) and sign.fits(module):
                family = sign.base if isinstance(sign.base, Family) else None
                title = family.name if family else f"{sign.base}{_width(adapter.modules.values())}"
                return BaseModel(title, "names and widths of the layers", family, _fits(sign.base, *sign.also))
    return None


def contradiction(adapter: Adapter) -> str | None:
    """Where metadata and layers of one file cannot both be right, what each of them says."""
    stated, inferred = stated_base(adapter), base_of_layers(adapter)
    if not stated or not inferred or not stated.fits or stated.fits & inferred.fits:
        return None
    return f"{stated.evidence}, but names and widths of the layers are those of {inferred.name}"


def stack_widths(adapter: Adapter) -> dict[str, int]:
    """How wide each stack of a language model's layers is, by the name in front of the layers' numbers."""
    widths: dict[str, int] = {}
    for name, module in adapter.modules.items():
        if _SIZES.search(name):
            widths.setdefault(re.sub(r"\d+\D*$", "", name), module.shape[1])
    return widths


def _named_base(adapter: Adapter) -> BaseModel | None:
    """By the checkpoint that a PEFT configuration names."""
    value = adapter.config.get("base_model_name_or_path")
    if not value or not isinstance(value, str):
        return None
    base = _titled(value)
    return BaseModel(value, "base_model_name_or_path", base if isinstance(base, Family) else None)


def _titled(value: str) -> Family | str | None:
    return next((base for pattern, base in _TITLES if pattern.search(value)), None)


def _fits(*bases: Family | str | None) -> frozenset[str]:
    """Names of architectures; Stable Diffusion 2 has one, whatever it was trained to predict."""
    named = (SD2 if base is SD2_V else base for base in bases if base)
    return frozenset(base.name if isinstance(base, Family) else base for base in named)


def _width(modules: Collection[Module]) -> str:
    """How wide a language model is, if a layer tells."""
    widths = {module.shape[1] for module in modules if _SIZES.search(module.name)}
    return f" of width {widths.pop()}" if len(widths) == 1 else ""
