"""Wan 2.1 and 2.2, text to video and image to video.

Source: diffusers, `scripts/convert_wan_to_diffusers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorafold.adapters.naming._architecture import Entry, renamed

_DEPTH = 40  # of the 14 B models; the 1.3 B ones have 30
_ENDS = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "head.head": "proj_out",
}
_PROJECTIONS = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0"}
_IMAGE = {"k_img": "add_k_proj", "v_img": "add_v_proj"}
_FEED_FORWARD = {"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"}


def wan_entries() -> tuple[Entry, ...]:
    """Every linear and convolutional layer."""
    return (*renamed(_ENDS), *_blocks())


def _blocks() -> Iterator[Entry]:
    for i in range(_DEPTH):
        block = f"blocks.{i}."
        yield from renamed(_PROJECTIONS, original=f"{block}self_attn.", diffusers=f"{block}attn1.")
        yield from renamed(_PROJECTIONS | _IMAGE, original=f"{block}cross_attn.", diffusers=f"{block}attn2.")
        yield from renamed(_FEED_FORWARD, original=block, diffusers=block)
