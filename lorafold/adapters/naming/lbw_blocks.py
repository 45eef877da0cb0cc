"""The blocks of an image model as LoRA Block Weight names them: BASE, IN00 to IN11, M00, OUT00 to OUT11; D00, S00, ...

BASE, of Flux CLIP and T5, are the text encoders. A U-Net's blocks are numbered as in its original code, three to a
level of resolution; its layers for time, size and pooled text and its last convolution lie in none.

Source: sd-webui-lora-block-weight (hako-mikan), `scripts/lora_block_weight.py`: BLOCKID12 to BLOCKIDFLUX,
DEF_WEIGHT_PRESET, get_flux_blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _numbered(prefix: str, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{prefix}{number:02}" for number in numbers)


def _unet(inputs: Sequence[int], outputs: Sequence[int]) -> tuple[str, ...]:
    return ("BASE", *_numbered("IN", inputs), "M00", *_numbered("OUT", outputs))


_SD = _unet(range(12), range(12))
_SDXL = _unet(range(9), range(9))
_FLUX = (*_numbered("D", range(19)), *_numbered("S", range(38)))

# Every block of an architecture, from the input to the output.
BLOCKS = {"sd": _SD, "sdxl": _SDXL, "flux": ("CLIP", "T5", "IN", *_FLUX, "OUT")}
TITLES = {"sd": "Stable Diffusion 1 and 2", "sdxl": "SDXL", "flux": "Flux 1"}


@dataclass(frozen=True)
class Layout:
    """Which block each number of a list is for.

    Args:
        architecture: key of `BLOCKS`.
        blocks: in order.
        rest: what the other blocks get.
    """

    architecture: str
    blocks: tuple[str, ...]
    rest: float


# By length. The short lists of the U-Nets have the blocks with attention; as in other tools, the rest is switched off.
LAYOUTS = {
    len(blocks): Layout(architecture, blocks, rest)
    for architecture, blocks, rest in (
        ("sd", _unet((1, 2, 4, 5, 7, 8), range(3, 12)), 0.0),
        ("sd", BLOCKS["sd"], 0.0),
        ("sdxl", _unet((4, 5, 7, 8), range(6)), 0.0),
        ("sdxl", BLOCKS["sdxl"], 0.0),
        ("flux", _FLUX, 1.0),
        ("flux", BLOCKS["flux"], 1.0),
    )
}

# First and last block; BASE is on. On the blocks of a list of 17 these are that tool's own values. Blocks without
# attention, and the ones of SDXL that a list of 17 lacks, are on where they lie between: shallow (S) or deep (D).
_RANGES = {
    "INS": ("IN00", "IN04"),
    "IND": ("IN05", "IN11"),
    "INALL": ("IN00", "IN11"),
    "MIDD": ("IN05", "OUT06"),
    "OUTD": ("OUT00", "OUT06"),
    "OUTS": ("OUT07", "OUT11"),
    "OUTALL": ("OUT00", "OUT11"),
}
_EVERYWHERE = {"ALL": 1.0, "NONE": 0.0, "ALL0.5": 0.5}


def presets(architecture: str | None = None) -> list[str]:
    """The names of the presets that the architecture has, or that any has."""
    return [*_EVERYWHERE, *(() if architecture == "flux" else _RANGES)]


def preset(name: str, architecture: str) -> dict[str, float]:
    """The factor of every block; `name` is one of `presets(architecture)`."""
    blocks = BLOCKS[architecture]
    if name in _EVERYWHERE:
        return dict.fromkeys(blocks, _EVERYWHERE[name])
    first, last = map(_SD.index, _RANGES[name])
    return {block: float(block == "BASE" or first <= _SD.index(block) <= last) for block in blocks}


def lengths(architecture: str) -> str:
    """How many numbers a list for the architecture may have, in words."""
    return " or ".join(str(count) for count, layout in LAYOUTS.items() if layout.architecture == architecture)


def block_of(name: str, architecture: str) -> str | None:
    """The block in which a layer, or another tensor, of this name lies; None if it lies in none.

    Names are those of any tool: kohya, diffusers, ComfyUI, PEFT.
    """
    flat = name.replace(".", "_")
    for pattern, block in _RULES[architecture]:
        if match := pattern.search(flat):
            return block(*map(int, match.groups()))
    return None


_Rules = tuple[tuple[re.Pattern[str], Callable[..., str]], ...]


def _rules(*rules: tuple[str, Callable[..., str]]) -> _Rules:
    return tuple((re.compile(pattern), block) for pattern, block in rules)


# On names with underscores for dots, tried in this order: what encloses comes first.
_UNET_RULES = _rules(
    (r"^(?:lora_te\d?|text_encoders?|text_model)_", lambda: "BASE"),
    (r"input_blocks_(\d+)_", lambda i: f"IN{i:02}"),
    (r"output_blocks_(\d+)_", lambda i: f"OUT{i:02}"),
    (r"mid(?:dle)?_block_", lambda: "M00"),
    (r"down_blocks_(\d+)_(?:resnets|attentions)_(\d+)_", lambda i, j: f"IN{3 * i + j + 1:02}"),
    (r"down_blocks_(\d+)_downsamplers_", lambda i: f"IN{3 * i + 3:02}"),
    (r"up_blocks_(\d+)_(?:resnets|attentions)_(\d+)_", lambda i, j: f"OUT{3 * i + j:02}"),
    (r"up_blocks_(\d+)_upsamplers_", lambda i: f"OUT{3 * i + 2:02}"),
    (r"conv_in(?:_|$)", lambda: "IN00"),
)
_FLUX_RULES = _rules(
    (r"^(?:lora_te[23]|text_encoder_2|text_encoders_t5xxl|encoder_block)_", lambda: "T5"),
    (r"^(?:lora_te1?|text_encoders?|text_model)_", lambda: "CLIP"),
    (r"single_(?:transformer_)?blocks_(\d+)_", lambda i: f"S{i:02}"),
    (r"(?:double|transformer)_blocks_(\d+)_", lambda i: f"D{i:02}"),
    (r"(?:img|txt|time|vector|guidance)_in(?:_|$)|(?:x|context)_embedder|time_text_embed_", lambda: "IN"),
    (r"final_layer_|norm_out_|proj_out(?:_|$)", lambda: "OUT"),
)
_RULES: dict[str, _Rules] = {"sd": _UNET_RULES, "sdxl": _UNET_RULES, "flux": _FLUX_RULES}
