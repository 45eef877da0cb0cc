"""The architectures, in the order in which they are tried. Each is built when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from lorafold.adapters.naming._architecture import Architecture, denoiser
from lorafold.adapters.naming._flux import flux_entries
from lorafold.adapters.naming._sd3 import sd3_entries
from lorafold.adapters.naming._text import clip, t5
from lorafold.adapters.naming._unet import SD, SDXL, unet_entries
from lorafold.adapters.naming._wan import wan_entries


def _sd() -> Architecture:
    """Stable Diffusion 1 and 2: their layers have the same names."""
    parts = (denoiser("unet", unet_entries(SD)), clip("text_encoder", "lora_te_", "clip_l"))
    return Architecture("sd", parts, "kohya-diffusers", ("attn2.to_k", frozenset({768, 1024})))


def _sdxl() -> Architecture:
    encoders = clip("text_encoder", "lora_te1_", "clip_l"), clip("text_encoder_2", "lora_te2_", "clip_g")
    parts = (denoiser("unet", unet_entries(SDXL)), *encoders)
    return Architecture("sdxl", parts, "kohya", ("attn2.to_k", frozenset({2048})))


def _flux() -> Architecture:
    """sd-scripts numbers T5 as in SD3, the third encoder."""
    encoders = clip("text_encoder", "lora_te1_", "clip_l"), t5("text_encoder_2", "lora_te3_")
    parts = (denoiser("transformer", flux_entries()), *encoders)
    return Architecture("flux", parts, "kohya", ("attn.to_q", frozenset({3072})))


def _sd3() -> Architecture:
    encoders = clip("text_encoder", "lora_te1_", "clip_l"), clip("text_encoder_2", "lora_te2_", "clip_g")
    parts = (denoiser("transformer", sd3_entries()), *encoders, t5("text_encoder_3", "lora_te3_"))
    return Architecture("sd3", parts, "kohya", ("attn.to_q", frozenset({1536, 2432})))


def _wan() -> Architecture:
    return Architecture("wan", (denoiser("transformer", wan_entries()),), "kohya")


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    name: cache(build) for name, build in (("sd", _sd), ("sdxl", _sdxl), ("flux", _flux), ("sd3", _sd3), ("wan", _wan))
}
