"""Lumina 2, whose published code fuses q, k and v: 24 heads of queries, 8 of keys and values.

Source: diffusers, `convert_lumina2_to_diffusers` in `loaders/single_file_utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorafold.adapters.naming._architecture import Entry, renamed, split_in

_DEPTHS = {"layers": 26, "noise_refiner": 2, "context_refiner": 2}
_ENDS = {
    "x_embedder": "x_embedder",
    "cap_embedder.1": "time_caption_embed.caption_embedder.1",
    "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
    "final_layer.adaLN_modulation.1": "norm_out.linear_1",
    "final_layer.linear": "norm_out.linear_2",
}
_BLOCK = {"attention.out": "attn.to_out.0", **{f"feed_forward.w{i}": f"feed_forward.linear_{i}" for i in (1, 2, 3)}}
LUMINA_PROPORTIONS = {"attention.qkv": (5, 3)}


def lumina_entries() -> tuple[Entry, ...]:
    """Every linear layer."""
    return (*renamed(_ENDS), *_blocks())


def _blocks() -> Iterator[Entry]:
    for part, depth in _DEPTHS.items():
        norm = {} if part == "context_refiner" else {"adaLN_modulation.1": "norm1.linear"}
        for i in range(depth):
            block = f"{part}.{i}."
            yield split_in(f"{block}attention.qkv", f"{block}attn.", ("to_q", "to_k", "to_v"), (3, 1, 1))
            yield from renamed(_BLOCK | norm, original=block, diffusers=block)
