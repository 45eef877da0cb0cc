"""The text encoders: CLIP ViT-L, OpenCLIP ViT-H and bigG, and T5, which every tool but one names as transformers does.

The exception is transformers 5, where a CLIP text model without projection has no "text_model." in front.
"""

from __future__ import annotations

from lorafold.adapters.naming._architecture import Component, same

_CLIP_LAYER = [*(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2"]
_T5_LAYER = [
    *(f"layer.0.SelfAttention.{part}" for part in "qkvo"),
    *(f"layer.1.DenseReluDense.{part}" for part in ("wi_0", "wi_1", "wo")),
]
# As many layers as the largest of them has.
_CLIP_DEPTH, _T5_DEPTH = 32, 24


def clip(name: str, kohya: str, comfyui: str) -> Component:
    """A CLIP text encoder, by its name in the pipeline and its prefixes elsewhere ("lora_te1_", "clip_l")."""
    layers = [f"text_model.encoder.layers.{i}.{layer}" for i in range(_CLIP_DEPTH) for layer in _CLIP_LAYER]
    return Component(name, same([*layers, "text_projection"]), _prefixes(name, kohya, comfyui))


def t5(name: str, kohya: str) -> Component:
    """A T5 encoder, likewise."""
    layers = [f"encoder.block.{i}.{layer}" for i in range(_T5_DEPTH) for layer in _T5_LAYER]
    return Component(name, same(layers), _prefixes(name, kohya, "t5xxl"))


def _prefixes(name: str, kohya: str, comfyui: str) -> dict[str, str]:
    """OneTrainer numbers the encoders as diffusers does."""
    return {
        "diffusers": f"{name}.",
        "kohya": kohya,
        "onetrainer": f"lora_te{name.removeprefix('text_encoder_') if name[-1].isdigit() else 1}_",
        "comfyui": f"text_encoders.{comfyui}.transformer.",
        "peft": "",
    }
