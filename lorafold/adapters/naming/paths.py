"""The path of a layer, without what wraps the model: equal for the names of one layer, whatever the model is.

Wrappers are what trainers, compilers and versions of libraries put in front: "diffusion_model." and "transformer.",
"_orig_mod.", and in vision-language models of transformers "model.", "language_model.model." or
"model.language_model.".
"""

from __future__ import annotations

import re

# What kohya's prefixes stand for, in diffusers' folders: the first that there is.
COMPONENTS = {
    "lora_unet_": ("unet", "transformer"),
    "lora_transformer_": ("transformer", "unet"),
    "lycoris_": ("unet", "transformer"),
    "lora_te_": ("text_encoder",),
    "lora_te1_": ("text_encoder",),
    "lora_te2_": ("text_encoder_2",),
    "lora_te3_": ("text_encoder_3", "text_encoder_2"),
}
_WRAPPER = re.compile(
    r"(?:base_model\.model\.|_orig_mod\.|module\.|diffusion_model\.|model\.|language_model\.|transformer\.|unet\."
    r"|lora_unet_|lora_transformer_|lycoris_)*"
)


def wrapped(name: str) -> tuple[str, str]:
    """What stands in front, and the path behind."""
    match = _WRAPPER.match(name)
    front = match[0] if match else ""
    return front, name[len(front) :]


def same_path(name: str) -> str:
    """What is equal for two names of one layer."""
    return wrapped(name)[1].rstrip("_").replace(".", "_")
