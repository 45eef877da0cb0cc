"""The architectures, in the order in which they are tried. Each is built when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

from lorafold.adapters.naming._alike import hidream_entries, ltx_entries, qwen_entries, z_image_entries
from lorafold.adapters.naming._architecture import Architecture, Component, denoiser, same
from lorafold.adapters.naming._auraflow import auraflow_entries
from lorafold.adapters.naming._flux import (
    FLUX2_PROPORTIONS,
    FLUX_PROPORTIONS,
    chroma_entries,
    flux2_entries,
    flux_entries,
)
from lorafold.adapters.naming._hunyuan import hunyuan_entries
from lorafold.adapters.naming._lumina import LUMINA_PROPORTIONS, lumina_entries
from lorafold.adapters.naming._sd3 import SD3_PROPORTIONS, sd3_entries
from lorafold.adapters.naming._text import clip, t5
from lorafold.adapters.naming._unet import SD, SDXL, unet_entries
from lorafold.adapters.naming._wan import wan_entries


def _sd() -> Architecture:
    """Stable Diffusion 1 and 2: their layers have the same names."""
    parts = (denoiser("unet", unet_entries(SD)), clip("text_encoder", "lora_te_", "clip_l"))
    titles = ("Stable Diffusion 1", "Stable Diffusion 2")
    return Architecture("sd", titles, parts, "kohya-diffusers", widths=_widths(("attn2.to_k", "attn2.to_v"), 768, 1024))


def _sdxl() -> Architecture:
    encoders = clip("text_encoder", "lora_te1_", "clip_l"), clip("text_encoder_2", "lora_te2_", "clip_g")
    parts = (denoiser("unet", unet_entries(SDXL)), *encoders)
    return Architecture("sdxl", ("SDXL",), parts, widths=_widths(("attn2.to_k", "attn2.to_v"), 2048))


def _flux() -> Architecture:
    """sd-scripts numbers T5 as in SD3, the third encoder."""
    encoders = clip("text_encoder", "lora_te1_", "clip_l"), t5("text_encoder_2", "lora_te3_")
    parts = (denoiser("transformer", flux_entries()), *encoders)
    return Architecture("flux", ("Flux 1",), parts, widths=_widths(_QKV, 3072), proportions=FLUX_PROPORTIONS)


def _chroma() -> Architecture:
    parts = (denoiser("transformer", chroma_entries()), t5("text_encoder", "lora_te3_"))
    return Architecture("chroma", ("Chroma",), parts, widths=_widths(_QKV, 3072), proportions=FLUX_PROPORTIONS)


def _flux2() -> Architecture:
    """klein of 4 B and 9 B parameters, and [dev]."""
    parts = (denoiser("transformer", flux2_entries()),)
    widths = _widths(_QKV, 3072, 4096, 6144)
    return Architecture("flux2", ("Flux 2",), parts, widths=widths, proportions=FLUX2_PROPORTIONS)


def _sd3() -> Architecture:
    encoders = clip("text_encoder", "lora_te1_", "clip_l"), clip("text_encoder_2", "lora_te2_", "clip_g")
    parts = (denoiser("transformer", sd3_entries()), *encoders, t5("text_encoder_3", "lora_te3_"))
    widths = _widths((*_QKV, *(f"attn2.to_{part}" for part in "qkv")), 1536, 2432)
    return Architecture("sd3", ("Stable Diffusion 3",), parts, widths=widths, proportions=SD3_PROPORTIONS)


def _qwen() -> Architecture:
    return Architecture("qwen", ("Qwen-Image",), (denoiser("transformer", qwen_entries()),), widths=_widths(_QKV, 3072))


def _auraflow() -> Architecture:
    parts = (denoiser("transformer", auraflow_entries()),)
    return Architecture("auraflow", ("AuraFlow",), parts, widths=_widths(_QKV, 3072))


def _wan() -> Architecture:
    """Wan 2.2 has a second transformer, which only diffusers puts into the same file."""
    second = Component("transformer_2", wan_entries(), {"diffusers": "transformer_2."})
    return Architecture("wan", ("Wan 2",), (denoiser("transformer", wan_entries()), second))


def _hunyuan() -> Architecture:
    """ComfyUI reads the published names too, beside its own, which are those of Flux."""
    parts = (denoiser("transformer", hunyuan_entries()),)
    widths = _widths(_QKV, 3072)
    return Architecture("hunyuan", ("HunyuanVideo",), parts, widths=widths, proportions=FLUX_PROPORTIONS)


def _hidream() -> Architecture:
    return Architecture("hidream", ("HiDream",), (denoiser("transformer", hidream_entries()),))


def _ltx() -> Architecture:
    parts = (denoiser("transformer", ltx_entries()),)
    return Architecture("ltx", ("LTX-Video",), parts, widths=_widths(_TWICE, 2048, 4096))


def _z_image() -> Architecture:
    """ComfyUI and musubi-tuner write diffusers' names."""
    parts = (denoiser("transformer", z_image_entries()),)
    return Architecture(
        "zimage", ("Z-Image",), parts, "kohya-diffusers", "comfyui-diffusers", proportions={"attention.qkv": (3, 1)}
    )


def _lumina() -> Architecture:
    parts = (denoiser("transformer", lumina_entries()),)
    return Architecture("lumina2", ("Lumina 2",), parts, proportions=LUMINA_PROPORTIONS)


def _others() -> Architecture:
    """Models that have names of diffusers in common with the ones above, and others elsewhere."""
    layers = (
        *(f"{attn}.{layer}" for attn in ("attn1", "attn2") for layer in ("to_q", "to_k", "to_v", "to_out.0")),
        *("ff.net.0.proj", "ff.net.2"),
    )
    paths = (f"transformer_blocks.{i}.{layer}" for i in range(48) for layer in layers)
    prefixes = {"diffusers": "transformer.", "lycoris": "lycoris_", "peft": ""}
    parts = (Component("transformer", same(paths), prefixes),)
    titles = ("PixArt", "Sana", "CogVideoX")
    return Architecture("others", titles, parts, widths=_widths(_TWICE, 1152, 1920, 2240, 3072))


def _widths(ends: Iterable[str], *widths: int) -> Mapping[str, frozenset[int]]:
    return dict.fromkeys(ends, frozenset(widths))


_QKV = tuple(f".attn.to_{part}" for part in "qkv")
_TWICE = tuple(f".{attn}.to_{part}" for attn in ("attn1", "attn2") for part in "qkv")

ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    name: cache(build)
    for name, build in (
        ("sd", _sd),
        ("sdxl", _sdxl),
        ("flux", _flux),
        ("sd3", _sd3),
        ("wan", _wan),
        ("flux2", _flux2),
        ("chroma", _chroma),
        ("qwen", _qwen),
        ("zimage", _z_image),
        ("lumina2", _lumina),
        ("auraflow", _auraflow),
        ("ltx", _ltx),
        ("hunyuan", _hunyuan),
        ("hidream", _hidream),
        ("others", _others),
    )
}
