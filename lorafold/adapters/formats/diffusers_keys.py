"""Tensor names of diffusers files, of every age, as (module, part).

    unet.N.lora_A.weight, .lora_B.weight, .lora_B.bias          today; an adapter's name may stand before ".weight"
    unet.N.lora.down.weight, .lora.up.weight                    attention layers of 2023
    unet.A.processor.to_q_lora.down.weight                      attention processors; to_out_lora is the layer to_out.0
    text_encoder.N.lora_linear_layer.down.weight                text encoders; A.to_q_lora is the layer A.q_proj there

The first files of all hold attention processors of the U-Net alone and have no "unet." in front. Files of
transformers 5 lack "text_model." in the names of a CLIP without projection; with it, all versions of diffusers find
the layer.
"""

from __future__ import annotations

import re

DOWN, UP, BIAS, ALPHA = "lora_A.weight", "lora_B.weight", "lora_B.bias", "alpha"

# Models of diffusers' pipelines that take a LoRA: those of Wan 2.2 and others have two transformers.
COMPONENT = re.compile(
    r"(?:unet|prior|controlnet|connectors|text_conditioner|transformer(?:_ref|_\d)?|text_encoder(?:_\d)?)\."
)
# What only a U-Net has: the first layer of a path without component.
_UNET = re.compile(r"(?:down_blocks|mid_block|up_blocks)\.")
_ADAPTER = r"(?:\.(?P<adapter>(?!(?:weight|bias)$)[^.]+))?"
_PART = re.compile(
    rf"(?P<name>.+?)(?:\.lora_(?P<letter>[AB]){_ADAPTER}\.(?P<leaf>weight|bias)"
    r"|(?:\.lora|\.lora_linear_layer|(?P<old>_lora))\.(?P<way>down|up)\.weight"
    r"|\.(?P<alpha>alpha))"
)
_BARE_CLIP = re.compile(r"^(text_encoder(?:_2)?)\.(encoder\.layers\.)")
_TEXT_LAYERS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


def is_diffusers(key: str) -> bool:
    """Whether only a diffusers file has a tensor of this name."""
    if COMPONENT.match(key) is None and ".processor.to_" not in key:
        return False
    match = _PART.fullmatch(key)
    return match is not None and match["alpha"] is None


def split_key(key: str) -> tuple[str, str, str | None] | None:
    """(module with its component, one of the parts above, name of the adapter if there is one)."""
    match = _PART.fullmatch(key)
    if match is None:
        return None
    name = match["name"].replace(".processor.", ".")
    if COMPONENT.match(name):
        name = _BARE_CLIP.sub(r"\1.text_model.\2", name)
    elif _UNET.match(name) or ".processor." in match["name"]:
        name = f"unet.{name}"
    else:
        return None
    part = _part(match)
    return None if part is None else (_attention(name) if match["old"] else name, part, match["adapter"])


def split_parts(key: str) -> tuple[str, str] | None:
    """(module as it stands there, one of the parts above), for lora_A, lora_B and alpha behind any name."""
    match = _PART.fullmatch(key)
    part = None if match is None or match["way"] else _part(match)
    return None if match is None or part is None else (match["name"], part)


def _part(match: re.Match[str]) -> str | None:
    if match["letter"]:
        part = f"lora_{match['letter']}.{match['leaf']}"
        return part if part in (DOWN, UP, BIAS) else None
    return {"down": DOWN, "up": UP, None: ALPHA}[match["way"]]


def _attention(name: str) -> str:
    """Today's path of a layer that an attention processor of 2023 called `to_q` (and so on) in any component."""
    parent, _, layer = name.rpartition(".")
    if name.startswith("text_encoder"):
        return f"{parent}.{_TEXT_LAYERS.get(layer, layer)}"
    return f"{parent}.{'to_out.0' if layer == 'to_out' else layer}"
