"""What layers of a language model are called by transformers (and PEFT, MLX), by llama.cpp, and by torchtune.

Sources: llama.cpp, `gguf/tensor_mapping.py` (tests compare) and `conversion/{llama,qwen,gemma}.py`; torchtune,
`models/convert_weights.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Within a layer: transformers -> llama.cpp, torchtune.
_LAYER = {
    "self_attn.q_proj": ("attn_q", "attn.q_proj"),
    "self_attn.k_proj": ("attn_k", "attn.k_proj"),
    "self_attn.v_proj": ("attn_v", "attn.v_proj"),
    "self_attn.o_proj": ("attn_output", "attn.output_proj"),
    "mlp.gate_proj": ("ffn_gate", "mlp.w1"),
    "mlp.up_proj": ("ffn_up", "mlp.w3"),
    "mlp.down_proj": ("ffn_down", "mlp.w2"),
}
_ENDS = {"model.embed_tokens": ("token_embd", "tok_embeddings"), "lm_head": ("output", "output")}
_STACKS = ("blk", "layers")
_FRONT = re.compile(r"(?:model\.|language_model\.)*")
_NUMBERED = re.compile(r"(\w+)\.(\d+)\.(.+)")
# Layers whose rows an order of rotary embeddings concerns.
ROTARY = re.compile(r"\.self_attn\.[qk]_proj$")


@dataclass(frozen=True)
class LanguageModel:
    """What the other tools make of a model of transformers.

    Args:
        llama_cpp: its architecture there.
        interleaved: whether llama.cpp pairs neighbouring rows of q and k, not those of the two halves of a head.
        torchtune: whether torchtune writes PEFT adapters of it; it always pairs neighbouring rows.
    """

    llama_cpp: str
    interleaved: bool = False
    torchtune: bool = False


# By `model_type` of config.json.
MODELS: Mapping[str, LanguageModel] = {
    "llama": LanguageModel("llama", interleaved=True, torchtune=True),
    "mistral": LanguageModel("llama", interleaved=True, torchtune=True),
    "qwen2": LanguageModel("qwen2", torchtune=True),
    "qwen3": LanguageModel("qwen3"),
    "gemma": LanguageModel("gemma", torchtune=True),
    "gemma2": LanguageModel("gemma2"),
    "gemma3": LanguageModel("gemma3"),
    "gemma3_text": LanguageModel("gemma3"),
}
# llama.cpp's architectures.
INTERLEAVED = {model.llama_cpp: model.interleaved for model in MODELS.values()}
LLAMA_CPP, TORCHTUNE = 0, 1


def to_tool(name: str, tool: int) -> str | None:
    """The name that transformers gives a layer, as the tool has it; None where it has none."""
    path = name[_FRONT.match(name).end() :]  # type: ignore[union-attr]
    if match := _NUMBERED.fullmatch(path):
        layer = _LAYER.get(match[3]) if match[1] == "layers" else None
        return f"{_STACKS[tool]}.{match[2]}.{layer[tool]}" if layer else None
    end = _ENDS.get(path) or _ENDS.get(f"model.{path}")
    return end[tool] if end and "." not in path else None


def to_transformers(name: str, tool: int) -> str | None:
    """And back."""
    if match := _NUMBERED.fullmatch(name):
        layer = next((ours for ours, theirs in _LAYER.items() if theirs[tool] == match[3]), None)
        return f"model.layers.{match[2]}.{layer}" if layer and match[1] == _STACKS[tool] else None
    return next((ours for ours, theirs in _ENDS.items() if theirs[tool] == name), None)
