"""Transformers that have mostly the same names in their published code and in diffusers.

Sources: diffusers, `models/transformers/transformer_{qwenimage,ltx,z_image,hidream_image}.py`, and the converters of
these models in `loaders/single_file_utils.py` and `loaders/lora_conversion_utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorafold.adapters.naming._architecture import Entry, renamed, same, split_in

_QKV = ("to_q", "to_k", "to_v")
_ATTENTION = (*_QKV, "to_out.0")
_TIMESTEP = ("timestep_embedder.linear_1", "timestep_embedder.linear_2")

_QWEN_DEPTH = 60
_QWEN_ADDED = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
_QWEN_BLOCK = (
    *(f"attn.{layer}" for layer in (*_ATTENTION, *_QWEN_ADDED)),
    *(f"{part}_{layer}" for part in ("img", "txt") for layer in ("mod.1", "mlp.net.0.proj", "mlp.net.2")),
)
_QWEN_ENDS = ("img_in", "txt_in", "proj_out", "norm_out.linear", *(f"time_text_embed.{layer}" for layer in _TIMESTEP))

_LTX_DEPTH = 48  # of the 13 B model; the 2 B one has 28
_LTX_BLOCK = (
    *(f"{attention}.{layer}" for attention in ("attn1", "attn2") for layer in _ATTENTION),
    *("ff.net.0.proj", "ff.net.2"),
)
_LTX_ENDS = {
    "patchify_proj": "proj_in",
    "adaln_single.linear": "time_embed.linear",
    **{f"adaln_single.emb.{layer}": f"time_embed.emb.{layer}" for layer in _TIMESTEP},
    **{path: path for path in ("caption_projection.linear_1", "caption_projection.linear_2", "proj_out")},
}

_Z_DEPTHS = {"layers": 30, "noise_refiner": 2, "context_refiner": 2}
_Z_FINAL = {
    "x_embedder": "all_x_embedder.2-1",
    "final_layer.linear": "all_final_layer.2-1.linear",
    "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
}
_Z_ENDS = ("cap_embedder.1", "t_embedder.mlp.0", "t_embedder.mlp.2")


_HIDREAM_DEPTHS = {"double_stream_blocks": 16, "single_stream_blocks": 32}
_HIDREAM_EXPERTS = ("shared_experts", *(f"experts.{i}" for i in range(4)))
_HIDREAM_BLOCK = (
    "adaLN_modulation.1",
    *(f"attn1.{layer}" for layer in (*_QKV, "to_out")),
    *(f"ff_i.{expert}.w{j}" for expert in _HIDREAM_EXPERTS for j in (1, 2, 3)),
)
_HIDREAM_TEXT = (*(f"attn1.{layer}_t" for layer in (*_QKV, "to_out")), *(f"ff_t.w{j}" for j in (1, 2, 3)))
_HIDREAM_ENDS = (
    *(f"t_embedder.{layer}" for layer in _TIMESTEP),
    *(f"p_embedder.pooled_embedder.linear_{i}" for i in (1, 2)),
    *("x_embedder.proj", "final_layer.linear", "final_layer.adaLN_modulation.1"),
    *(f"caption_projection.{i}.linear" for i in range(49)),  # of 48 layers of Llama, and of T5
)


def hidream_entries() -> tuple[Entry, ...]:
    """Every linear layer of HiDream-I1."""
    layers = {"double_stream_blocks": (*_HIDREAM_BLOCK, *_HIDREAM_TEXT), "single_stream_blocks": _HIDREAM_BLOCK}
    blocks = (
        f"{stack}.{i}.block.{layer}"
        for stack, depth in _HIDREAM_DEPTHS.items()
        for i in range(depth)
        for layer in layers[stack]
    )
    return same((*_HIDREAM_ENDS, *blocks))


def qwen_entries() -> tuple[Entry, ...]:
    """Every linear layer of Qwen-Image."""
    blocks = (f"transformer_blocks.{i}.{layer}" for i in range(_QWEN_DEPTH) for layer in _QWEN_BLOCK)
    return same((*_QWEN_ENDS, *blocks))


def ltx_entries() -> tuple[Entry, ...]:
    """Every linear layer of LTX-Video."""
    blocks = (f"transformer_blocks.{i}.{layer}" for i in range(_LTX_DEPTH) for layer in _LTX_BLOCK)
    return (*renamed(_LTX_ENDS), *same(blocks))


def z_image_entries() -> tuple[Entry, ...]:
    """Every linear layer of Z-Image, of which the published code fuses q, k and v."""
    return (*renamed(_Z_FINAL), *same(_Z_ENDS), *_z_image_blocks())


def _z_image_blocks() -> Iterator[Entry]:
    for part, depth in _Z_DEPTHS.items():
        for i in range(depth):
            block = f"{part}.{i}."
            yield split_in(f"{block}attention.qkv", f"{block}attention.", _QKV)
            yield Entry(f"{block}attention.out", (f"{block}attention.to_out.0",))
            yield from same(f"{block}feed_forward.w{j}" for j in (1, 2, 3))
            if part != "context_refiner":
                yield from same([f"{block}adaLN_modulation.0"])
