"""AuraFlow.

Source: diffusers, `convert_auraflow_transformer_checkpoint_to_diffusers` in `loaders/single_file_utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorafold.adapters.naming._architecture import Entry, renamed

_DOUBLE, _SINGLE = 4, 32
_ENDS = {
    "t_embedder.mlp.0": "time_step_proj.linear_1",
    "t_embedder.mlp.2": "time_step_proj.linear_2",
    "cond_seq_linear": "context_embedder",
    "final_linear": "proj_out",
    "init_x_linear": "pos_embed.proj",
}
_FEED_FORWARD = {"c_fc1": "linear_1", "c_fc2": "linear_2", "c_proj": "out_projection"}
_X = {"w2q": "to_q", "w2k": "to_k", "w2v": "to_v", "w2o": "to_out.0"}
_CONTEXT = {"w1q": "add_q_proj", "w1k": "add_k_proj", "w1v": "add_v_proj", "w1o": "to_add_out"}
_ALONE = {theirs.replace("2", "1"): ours for theirs, ours in _X.items()}


def auraflow_entries() -> tuple[Entry, ...]:
    """Every linear layer."""
    final = Entry("modF.1", ("norm_out.linear",), halves_swapped=True)
    return (*renamed(_ENDS), final, *_double_blocks(), *_single_blocks())


def _double_blocks() -> Iterator[Entry]:
    for i in range(_DOUBLE):
        theirs, ours = f"double_layers.{i}.", f"joint_transformer_blocks.{i}."
        yield from renamed(_X | _CONTEXT, original=f"{theirs}attn.", diffusers=f"{ours}attn.")
        yield from renamed(_FEED_FORWARD, original=f"{theirs}mlpX.", diffusers=f"{ours}ff.")
        yield from renamed(_FEED_FORWARD, original=f"{theirs}mlpC.", diffusers=f"{ours}ff_context.")
        norms = {"modX.1": "norm1.linear", "modC.1": "norm1_context.linear"}
        yield from renamed(norms, original=theirs, diffusers=ours)


def _single_blocks() -> Iterator[Entry]:
    for i in range(_SINGLE):
        theirs, ours = f"single_layers.{i}.", f"single_transformer_blocks.{i}."
        yield from renamed(_ALONE, original=f"{theirs}attn.", diffusers=f"{ours}attn.")
        yield from renamed(_FEED_FORWARD, original=f"{theirs}mlp.", diffusers=f"{ours}ff.")
        yield from renamed({"modCX.1": "norm1.linear"}, original=theirs, diffusers=ours)
