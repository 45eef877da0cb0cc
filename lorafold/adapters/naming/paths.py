"""The path of a layer, without what wraps the model: equal for the names of one layer, whatever the model is.

Wrappers are what trainers, compilers and versions of libraries put in front: "diffusion_model." and "transformer.",
"_orig_mod.", and in vision-language models of transformers "model.", "language_model.model." or
"model.language_model.".
"""

from __future__ import annotations

import re

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
