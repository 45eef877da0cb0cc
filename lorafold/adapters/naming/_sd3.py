"""Stable Diffusion 3 and 3.5 (MMDiT).

Source: diffusers, `scripts/convert_sd3_to_diffusers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorafold.adapters.naming._architecture import Entry, renamed

_DEPTH = 38  # of 3.5 large; the medium models have 24
_ENDS = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_LAYERS = {
    "x_block.adaLN_modulation.1": "norm1.linear",
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}
_FUSED = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
SD3_PROPORTIONS = {"block.mlp.fc1": (4, 1), "block.mlp.fc2": (1, 4)}


def sd3_entries() -> tuple[Entry, ...]:
    """Every linear and convolutional layer."""
    final = Entry("final_layer.adaLN_modulation.1", ("norm_out.linear",), halves_swapped=True)
    return (*renamed(_ENDS), final, *_blocks())


def _blocks() -> Iterator[Entry]:
    for i in range(_DEPTH):
        theirs, ours = f"joint_blocks.{i}.", f"transformer_blocks.{i}."
        yield from renamed(_LAYERS, original=theirs, diffusers=ours)
        for fused, parts in _FUSED.items():
            yield Entry(theirs + fused, tuple(ours + part for part in parts), (1, 1, 1))
        # The last block's norm of the context has two halves, every other one's six parts in the same order.
        norm = f"{theirs}context_block.adaLN_modulation.1"
        yield Entry(norm, (f"{ours}norm1_context.linear",), halves_swapped=True)
