"""A BERT encoder as one function of its weights, so that a merge is evaluated without building a model.

Sequences lie one after another without padding, sorted by length: linear layers see one matrix of all tokens, attention
works on blocks of equal length and needs no mask.

Linear layers and attention compute in the dtype of their weights; sums between layers, norms and means in float32.

t = tokens, n = sequences, l = their length, d = hidden size, h = heads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from quality.lora import Weights, linear


@dataclass(frozen=True)
class Batch:
    """Packed sequences.

    Args:
        embedded: what the first layer sees  (t, d)
        blocks: (n, l) of every block of equal length, in the order of the rows; Σ n l = t.
    """

    embedded: Tensor
    blocks: tuple[tuple[int, int], ...]


class Encoder:
    """The model of a folder with config.json and model.safetensors."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
            raise SystemExit(f"{folder}: expected a BERT encoder with gelu, found {config['model_type']}")
        tensors = load_file(folder / "model.safetensors")
        self.weights: Weights = {key.removeprefix("bert."): tensor for key, tensor in tensors.items()}
        self._layers, self._heads = config["num_hidden_layers"], config["num_attention_heads"]
        self._eps, self.width = config["layer_norm_eps"], config["hidden_size"]

    @property
    def modules(self) -> list[str]:
        """The names of its linear layers."""
        layers = (name.removesuffix(".weight") for name in self.weights if name.startswith("encoder."))
        return [name for name in layers if f"{name}.bias" in self.weights and not name.endswith("LayerNorm")]

    def batch(self, sequences: Sequence[Tensor]) -> Batch:
        """Token ids (l,) of every sequence, sorted by length."""
        lengths = [len(sequence) for sequence in sequences]
        counts = {length: lengths.count(length) for length in dict.fromkeys(lengths)}
        tables = [f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")]
        words, positions, kinds = (self.weights[table] for table in tables)
        places = torch.cat([torch.arange(length) for length in lengths])
        embedded = words[torch.cat(list(sequences))] + kinds[0] + positions[places]
        blocks = tuple((count, length) for length, count in counts.items())
        return Batch(self._norm(self.weights, "embeddings", embedded), blocks)

    def features(self, batch: Batch, weights: Weights) -> Tensor:
        """The mean of the last hidden states of every sequence.  (n, d)"""
        x = batch.embedded
        for index in range(self._layers):
            x = self._layer(weights, f"encoder.layer.{index}", x, batch.blocks)
        parts = torch.split(x, _rows(batch.blocks))
        return torch.cat([part.unflatten(0, block).mean(1) for part, block in zip(parts, batch.blocks, strict=True)])

    def _layer(self, weights: Weights, name: str, x: Tensor, blocks: Sequence[tuple[int, int]]) -> Tensor:
        """(t, d)"""
        mixed = self._attention(weights, f"{name}.attention.self", x, blocks)
        x = self._output(weights, f"{name}.attention.output", mixed, x)
        inner = gelu(linear(weights, f"{name}.intermediate.dense", x))
        return self._output(weights, f"{name}.output", inner, x)

    def _output(self, weights: Weights, name: str, inner: Tensor, x: Tensor) -> Tensor:
        """(t, d)"""
        return self._norm(weights, name, linear(weights, f"{name}.dense", inner) + x)

    def _attention(self, weights: Weights, name: str, x: Tensor, blocks: Sequence[tuple[int, int]]) -> Tensor:
        """(t, d)"""
        projected = [linear(weights, f"{name}.{part}", x) for part in ("query", "key", "value")]
        rows = zip(blocks, *(torch.split(part, _rows(blocks)) for part in projected), strict=True)
        return torch.cat([self._attend(block, *part) for block, *part in rows])

    def _attend(self, block: tuple[int, int], *parts: Tensor) -> Tensor:
        """Sequences of one length, (n l, d) each of query, key and value.  (n l, d)"""
        heads = (part.unflatten(0, block).unflatten(2, (self._heads, -1)).transpose(1, 2) for part in parts)
        return scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2).flatten(0, 1)

    def _norm(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        scale, shift = (weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return layer_norm(x, scale.shape, scale, shift, self._eps)


def _rows(blocks: Sequence[tuple[int, int]]) -> list[int]:
    return [count * length for count, length in blocks]
