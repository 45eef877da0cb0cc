"""A Llama decoder as one function of its weights, read from a GGUF file.

Sequences lie one after another without padding, sorted by length, as in encoder.py. Linear layers and attention compute
in the dtype of their weights; sums between layers and norms in float32.

t = tokens, n = sequences, l = their length, d = hidden size, h = heads, g = heads of keys and values, k = head size,
v = vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from quality.lora import Weights, linear

_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


@dataclass(frozen=True)
class Tokens:
    """Packed sequences.

    Args:
        embedded: what the first layer sees  (t, d)
        turns: cosines and sines of the rotary positions, (t, k) each
        blocks: (n, l) of every block of equal length, in the order of the rows; Σ n l = t.
    """

    embedded: Tensor
    turns: tuple[Tensor, Tensor]
    blocks: tuple[tuple[int, int], ...]


class Decoder:
    """A Llama of tied embeddings.

    Args:
        weights: by the names of transformers.
        sizes: what transformers' LlamaConfig calls them.
    """

    def __init__(self, weights: Weights, sizes: Mapping[str, Any]) -> None:
        self.weights, self.sizes = weights, sizes

    @property
    def modules(self) -> list[str]:
        """The names of its linear layers."""
        return [name.removesuffix(".weight") for name in self.weights if "_proj." in name]

    def tokens(self, sequences: Sequence[Tensor]) -> Tokens:
        """Token ids (l,) of every sequence, sorted by length."""
        lengths = [len(sequence) for sequence in sequences]
        counts = {length: lengths.count(length) for length in dict.fromkeys(lengths)}
        embedded = self.weights["model.embed_tokens.weight"][torch.cat(list(sequences))].float()
        places = torch.cat([torch.arange(length) for length in lengths])
        size = embedded.shape[1] // self.sizes["num_attention_heads"]
        speeds = self.sizes["rope_parameters"]["rope_theta"] ** (-torch.arange(0, size, 2) / size)
        angles = (places[:, None] * speeds).repeat(1, 2)
        return Tokens(embedded, (angles.cos(), angles.sin()), tuple((n, length) for length, n in counts.items()))

    def hidden(self, tokens: Tokens, weights: Weights) -> Tensor:
        """The last hidden state of every token.  (t, d)"""
        x = tokens.embedded
        for index in range(self.sizes["num_hidden_layers"]):
            layer = f"model.layers.{index}"
            inner = self._norm(weights, f"{layer}.input_layernorm", x)
            x = x + self._attention(weights, f"{layer}.self_attn", inner, tokens)
            inner = self._norm(weights, f"{layer}.post_attention_layernorm", x)
            gate, up = (linear(weights, f"{layer}.mlp.{part}_proj", inner) for part in ("gate", "up"))
            x = x + linear(weights, f"{layer}.mlp.down_proj", silu(gate) * up)
        return self._norm(weights, "model.norm", x)

    def logits(self, hidden: Tensor, weights: Weights) -> Tensor:
        """(rows, d) to (rows, v)"""
        return hidden.float() @ weights["model.embed_tokens.weight"].float().mT

    def _attention(self, weights: Weights, name: str, x: Tensor, tokens: Tokens) -> Tensor:
        """(t, d)"""
        heads = (self.sizes["num_attention_heads"], *[self.sizes["num_key_value_heads"]] * 2)
        query, key, value = (
            linear(weights, f"{name}.{part}_proj", x).unflatten(1, (count, -1))
            for part, count in zip("qkv", heads, strict=True)
        )
        parts = (_turned(query, tokens.turns), _turned(key, tokens.turns), value)  # (t, h or g, k)
        rows = [count * length for count, length in tokens.blocks]
        split = zip(tokens.blocks, *(torch.split(part, rows) for part in parts), strict=True)
        return linear(weights, f"{name}.o_proj", torch.cat([_attend(block, *part) for block, *part in split]))

    def _norm(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        scale = weights[f"{name}.weight"]
        return rms_norm(x.float(), scale.shape, scale, self.sizes["rms_norm_eps"])


def read_gguf(path: Path) -> Decoder:
    """The dequantised model of a file of llama.cpp."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(path)

    def number(key: str) -> Any:
        field = reader.fields[f"llama.{key}"]
        return field.parts[field.data[0]].tolist()[0]

    sizes = {
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_theta": number("rope.freq_base"), "rope_type": "default"},
    }
    weights = {}
    for tensor in reader.tensors:
        weight = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        *block, part, _ = tensor.name.split(".")
        heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(part)
        if heads:  # llama.cpp has the two halves of a head's rotary pairs interleaved
            weight = weight.unflatten(0, (sizes[heads], -1, 2)).transpose(1, 2).flatten(0, 2).contiguous()
        weights[f"model.layers.{block[1]}.{_NAMES[part]}.weight" if block else f"{_TOP[part]}.weight"] = weight
    return Decoder(weights, sizes)


def _turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions on (t, heads, k), the halves of a head being the parts of its pairs."""
    cosine, sine = (part[:, None].to(x.dtype) for part in turns)
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine


def _attend(block: tuple[int, int], *parts: Tensor) -> Tensor:
    """Sequences of one length, (n l, h, k), (n l, g, k) and (n l, g, k).  (n l, d)"""
    query, key, value = (part.unflatten(0, block).transpose(1, 2) for part in parts)
    mixed = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    return mixed.transpose(1, 2).flatten(2).flatten(0, 1)
