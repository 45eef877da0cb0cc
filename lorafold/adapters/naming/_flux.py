"""Flux 1: the original code fuses projections that diffusers keeps apart.

Sources: diffusers, `scripts/convert_flux_to_diffusers.py`; sd-scripts, `networks/convert_flux_lora.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorafold.adapters.naming._architecture import Entry, renamed

_DOUBLE, _SINGLE = 19, 38
_ENDS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_DOUBLE_LAYERS = {
    "img_mod.lin": "norm1.linear",
    "img_attn.proj": "attn.to_out.0",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mod.lin": "norm1_context.linear",
    "txt_attn.proj": "attn.to_add_out",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
_SINGLE_LAYERS = {"modulation.lin": "norm.linear", "linear2": "proj_out"}


def flux_entries() -> tuple[Entry, ...]:
    """Every linear layer."""
    final = Entry("final_layer.adaLN_modulation.1", ("norm_out.linear",), halves_swapped=True)
    return (*renamed(_ENDS), final, *_double_blocks(), *_single_blocks())


def _double_blocks() -> Iterator[Entry]:
    for i in range(_DOUBLE):
        theirs, ours = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        yield from renamed(_DOUBLE_LAYERS, original=theirs, diffusers=ours)
        yield Entry(f"{theirs}img_attn.qkv", tuple(f"{ours}attn.to_{part}" for part in "qkv"), (1, 1, 1))
        yield Entry(f"{theirs}txt_attn.qkv", tuple(f"{ours}attn.add_{part}_proj" for part in "qkv"), (1, 1, 1))


def _single_blocks() -> Iterator[Entry]:
    """linear1 stacks q, k, v (3072 rows each) and the feed-forward layer (12288)."""
    for i in range(_SINGLE):
        theirs, ours = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        yield from renamed(_SINGLE_LAYERS, original=theirs, diffusers=ours)
        parts = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        yield Entry(f"{theirs}linear1", tuple(ours + part for part in parts), (1, 1, 1, 4))
