"""Parts of a model and kinds of layers, by module name: the rows of a table that has no room for hundreds of modules.

Knows the names of kohya, diffusers and PEFT files (UNets, Flux, SD3, Wan, Llama, BERT, GPT-2, T5, ViT); anything
else with numbered layers or blocks falls into the generic rules, and the rest into "other".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Group(NamedTuple):
    """A part of a model, such as `down block 2`; parts that are not numbered have no number."""

    part: str
    number: int | None


# Tried in this order, on names with dots replaced by underscores: kohya has replaced them already. What encloses
# comes before what is enclosed: the transformer blocks of a UNet sit inside its down, mid and up blocks.
_RULES = tuple(
    (re.compile(rf"(?:^|_){pattern}(?:_|$)"), part)
    for pattern, part in (
        (r"lora_te(\d+)?", "text encoder"),
        (r"text_encoders?(?:_(\d+))?", "text encoder"),
        (r"down_blocks_(\d+)", "down block"),
        (r"mid_block", "mid block"),
        (r"up_blocks_(\d+)", "up block"),
        (r"input_blocks_(\d+)", "input block"),
        (r"middle_block", "middle block"),
        (r"output_blocks_(\d+)", "output block"),
        (r"single_(?:transformer_|stream_)?blocks_(\d+)", "single block"),
        (r"double_(?:stream_)?blocks_(\d+)", "double block"),
        (r"joint_blocks_(\d+)", "joint block"),
        (r"transformer_blocks_(\d+)", "transformer block"),
        (r"encoder_(?:block|layers)_(\d+)", "encoder layer"),
        (r"decoder_(?:block|layers)_(\d+)", "decoder layer"),
        (r"(?:layers?|h|blk)_(\d+)", "layer"),
        (r"blocks?_(\d+)", "block"),
    )
)

# What the end of a name says of the layer; again the more specific first.
_KINDS = tuple(
    (re.compile(rf"(?:^|_)(?:{pattern})$"), kind)
    for pattern, kind in (
        (r"w?qkv|qkv_proj|c_attn|in_proj|query_key_value", "attention qkv"),
        (r"q|wq|to_q|to_q_t|q_proj|add_q_proj|query", "attention q"),
        (r"k|wk|to_k|to_k_t|k_proj|add_k_proj|key|k_img", "attention k"),
        (r"v|wv|to_v|to_v_t|v_proj|add_v_proj|value|v_img", "attention v"),
        (r"o|to_out|to_out_0|to_out_t|to_add_out|out_proj|o_proj", "attention out"),
        (r"(?:attn|attention)_(?:proj|output|output_proj|c_proj|dense|output_dense)", "attention out"),
        (r"w1|gate_proj|ffn_gate", "mlp gate"),
        (
            r"w3|up_proj|ffn_up|gate_up_proj|fc1|fc_in|c_fc|lin1|wi|wi_\d|proj_mlp|intermediate_dense|dense_h_to_4h",
            "mlp up",
        ),
        (r"net_0_proj|(?:mlp|ffn)_0", "mlp up"),
        (r"w2|wo|down_proj|ffn_down|fc2|fc_out|lin2|mlp_c_proj|output_dense|dense_4h_to_h", "mlp down"),
        (r"net_2|(?:mlp|ffn)_2", "mlp down"),
        (r"\w*conv\w*", "conv"),
        (r"proj_in|proj_out", "projection"),
    )
)


def group_of(name: str) -> Group:
    """The part of the model that a module belongs to."""
    flat = name.replace(".", "_")
    for pattern, part in _RULES:
        if match := pattern.search(flat):
            digits = match.group(1) if match.groups() else None
            return Group(part, None if digits is None else int(digits))
    return Group("other", None)


def kind_of(name: str) -> str:
    """What kind of layer a module is, such as `attention q` or `mlp down`; "other" if its name does not tell."""
    flat = name.replace(".", "_").lower()
    return next((kind for pattern, kind in _KINDS if pattern.search(flat)), "other")


def labels(groups: Iterable[Group], limit: int = 20) -> dict[Group, str]:
    """What to call each group, in the order of the rows; neighbours share a label where `limit` rows do not suffice.

    Parts keep the order in which they are met, and numbers of a part are sorted: `layer 0`, or `layer 0-3`.
    """
    parts: dict[str, list[Group]] = {}
    for group in dict.fromkeys(groups):
        parts.setdefault(group.part, []).append(group)
    for members in parts.values():
        members.sort(key=lambda group: -1 if group.number is None else group.number)
    size = _run_length([len(members) for members in parts.values()], limit)
    runs = (members[i : i + size] for members in parts.values() for i in range(0, len(members), size))
    return {group: _label(run) for run in runs for group in run}


def _run_length(counts: list[int], limit: int) -> int:
    """How many neighbours have to share a row so that at most `limit` rows remain, one per part at the least."""
    size = 1
    while sum(-(-count // size) for count in counts) > limit and size < max(counts):
        size += 1
    return size


def _label(run: list[Group]) -> str:
    part, first = run[0]
    last = run[-1].number
    if last is None:
        return part
    return f"{part} {last}" if len(run) == 1 else f"{part} {first or 0}-{last}"
