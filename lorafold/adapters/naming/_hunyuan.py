"""HunyuanVideo, built like Flux 1, with a refiner of the text's tokens.

Source: diffusers, `convert_hunyuan_video_transformer_to_diffusers` in `loaders/single_file_utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorafold.adapters.naming._architecture import Entry, renamed, split_in

_DOUBLE, _SINGLE, _REFINER = 20, 40, 2
_ENDS = {
    "img_in.proj": "x_embedder.proj",
    "txt_in.input_embedder": "context_embedder.proj_in",
    "txt_in.t_embedder.mlp.0": "context_embedder.time_text_embed.timestep_embedder.linear_1",
    "txt_in.t_embedder.mlp.2": "context_embedder.time_text_embed.timestep_embedder.linear_2",
    "txt_in.c_embedder.linear_1": "context_embedder.time_text_embed.text_embedder.linear_1",
    "txt_in.c_embedder.linear_2": "context_embedder.time_text_embed.text_embedder.linear_2",
    "time_in.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "time_in.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.mlp.0": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.mlp.2": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_DOUBLE_LAYERS = {
    "img_mod.linear": "norm1.linear",
    "img_attn_proj": "attn.to_out.0",
    "img_mlp.fc1": "ff.net.0.proj",
    "img_mlp.fc2": "ff.net.2",
    "txt_mod.linear": "norm1_context.linear",
    "txt_attn_proj": "attn.to_add_out",
    "txt_mlp.fc1": "ff_context.net.0.proj",
    "txt_mlp.fc2": "ff_context.net.2",
}
_REFINER_LAYERS = {
    "self_attn_proj": "attn.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
    "adaLN_modulation.1": "norm_out.linear",
}
_SINGLE_LAYERS = {"linear2": "proj_out", "modulation.linear": "norm.linear"}
_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")


def hunyuan_entries() -> tuple[Entry, ...]:
    """Every linear and convolutional layer."""
    final = Entry("final_layer.adaLN_modulation.1", ("norm_out.linear",), halves_swapped=True)
    return (*renamed(_ENDS), final, *_blocks())


def _blocks() -> Iterator[Entry]:
    for i in range(_DOUBLE):
        theirs, ours = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        yield from renamed(_DOUBLE_LAYERS, original=theirs, diffusers=ours)
        yield split_in(f"{theirs}img_attn_qkv", ours, _QKV)
        yield split_in(f"{theirs}txt_attn_qkv", f"{ours}attn.", ("add_q_proj", "add_k_proj", "add_v_proj"))
    for i in range(_SINGLE):
        theirs, ours = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        yield from renamed(_SINGLE_LAYERS, original=theirs, diffusers=ours)
        yield split_in(f"{theirs}linear1", ours, (*_QKV, "proj_mlp"), (1, 1, 1, 4))
    for i in range(_REFINER):
        theirs = f"txt_in.individual_token_refiner.blocks.{i}."
        ours = f"context_embedder.token_refiner.refiner_blocks.{i}."
        yield from renamed(_REFINER_LAYERS, original=theirs, diffusers=ours)
        yield split_in(f"{theirs}self_attn_qkv", ours, _QKV)
