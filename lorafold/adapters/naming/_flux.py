"""Flux 1 and its kin: the original code fuses projections that diffusers keeps apart.

Chroma is Flux 1 with one network for all modulations. Flux 2 shares its modulations between blocks, has gated
feed-forward layers, and is fused in its single blocks in diffusers too. Sources: diffusers,
`loaders/single_file_utils.py` (flux, flux2, chroma) and `loaders/lora_conversion_utils.py`; sd-scripts,
`networks/convert_flux_lora.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lorafold.adapters.naming._architecture import Entry, renamed, split_in

_DOUBLE, _SINGLE = 19, 38
_GUIDANCE_LAYERS = 5  # of Chroma
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
_FINAL = Entry("final_layer.adaLN_modulation.1", ("norm_out.linear",), halves_swapped=True)
_MODULATION = {"img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear"}
_ATTENTION = {"img_attn.proj": "attn.to_out.0", "txt_attn.proj": "attn.to_add_out"}
_FEED_FORWARD = {
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
_GATED = {
    "img_mlp.0": "ff.linear_in",
    "img_mlp.2": "ff.linear_out",
    "txt_mlp.0": "ff_context.linear_in",
    "txt_mlp.2": "ff_context.linear_out",
}
_SINGLE_PARTS = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
# Of Flux 1, Chroma and HunyuanVideo, and of Flux 2.
FLUX_PROPORTIONS = {"linear1": (7, 1), "linear2": (1, 5), "_mlp.0": (4, 1), "_mlp.2": (1, 4)}
FLUX2_PROPORTIONS = {"linear1": (9, 1), "linear2": (1, 4), "_mlp.0": (6, 1), "_mlp.2": (1, 3)}

_CHROMA_ENDS = {key: _ENDS[key] for key in ("img_in", "txt_in", "final_layer.linear")}
_GUIDANCE = {"in_layer": "linear_1", "out_layer": "linear_2"}

_FLUX2_DOUBLE, _FLUX2_SINGLE = 8, 48  # of [dev]; the smaller models, klein, have fewer
_FLUX2_ENDS = {
    **_CHROMA_ENDS,
    **{
        f"{part}_in.{theirs}": f"time_guidance_embed.{ours}_embedder.linear_{i}"
        for part, ours in (("time", "timestep"), ("guidance", "guidance"))
        for i, theirs in ((1, "in_layer"), (2, "out_layer"))
    },
    **{
        f"{part}.lin": f"{part}.linear"
        for part in ("single_stream_modulation", "double_stream_modulation_img", "double_stream_modulation_txt")
    },
}


def flux_entries() -> tuple[Entry, ...]:
    """Every linear layer of Flux 1."""
    blocks = _double_blocks(_DOUBLE, _MODULATION | _ATTENTION | _FEED_FORWARD), _single_blocks(modulated=True)
    return (*renamed(_ENDS), _FINAL, *blocks[0], *blocks[1])


def chroma_entries() -> tuple[Entry, ...]:
    """Every linear layer of Chroma."""
    guidance = "distilled_guidance_layer."
    ends = {f"{guidance}{end}": f"{guidance}{end}" for end in ("in_proj", "out_proj")}
    ends |= {
        f"{guidance}layers.{i}.{theirs}": f"{guidance}layers.{i}.{ours}"
        for i in range(_GUIDANCE_LAYERS)
        for theirs, ours in _GUIDANCE.items()
    }
    blocks = _double_blocks(_DOUBLE, _ATTENTION | _FEED_FORWARD), _single_blocks(modulated=False)
    return (*renamed(_CHROMA_ENDS | ends), *blocks[0], *blocks[1])


def flux2_entries() -> tuple[Entry, ...]:
    """Every linear layer of Flux 2."""
    single = {"linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out"}
    blocks = (
        renamed(single, original=f"single_blocks.{i}.", diffusers=f"single_transformer_blocks.{i}.")
        for i in range(_FLUX2_SINGLE)
    )
    double = _double_blocks(_FLUX2_DOUBLE, _ATTENTION | _GATED)
    return (*renamed(_FLUX2_ENDS), _FINAL, *double, *(entry for block in blocks for entry in block))


def _double_blocks(count: int, layers: Mapping[str, str]) -> Iterator[Entry]:
    for i in range(count):
        theirs, ours = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        yield from renamed(layers, original=theirs, diffusers=ours)
        yield split_in(f"{theirs}img_attn.qkv", f"{ours}attn.", ("to_q", "to_k", "to_v"))
        yield split_in(f"{theirs}txt_attn.qkv", f"{ours}attn.", ("add_q_proj", "add_k_proj", "add_v_proj"))


def _single_blocks(*, modulated: bool) -> Iterator[Entry]:
    """linear1 stacks q, k, v (3072 rows each) and the feed-forward layer (12288)."""
    layers = {"linear2": "proj_out"} | ({"modulation.lin": "norm.linear"} if modulated else {})
    for i in range(_SINGLE):
        theirs, ours = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        yield from renamed(layers, original=theirs, diffusers=ours)
        yield split_in(f"{theirs}linear1", ours, _SINGLE_PARTS, (1, 1, 1, 4))
