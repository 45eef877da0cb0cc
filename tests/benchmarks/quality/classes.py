"""Which class a linear head sees in the encoder's features of every text.

e = examples, d = hidden size, c = classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from quality.encoder import Batch, Encoder
from quality.lora import Weights

# Tokens per batch: what they need between two layers stays in the cache.
_TOKENS = 1024


@dataclass(frozen=True)
class Texts:
    """One split of one task.

    Args:
        batches: of texts sorted by length.
        order: their places in the file  (e,)
        labels: in the order of the file  (e,)
        head: (c, d), (c,)
    """

    batches: tuple[Batch, ...]
    order: Tensor
    labels: Tensor
    head: tuple[Tensor, Tensor]


class Classifier:
    """The encoder of a folder, with the heads of a bench folder."""

    def __init__(self, base: Path) -> None:
        self.encoder, self._base = Encoder(base), base

    @property
    def weights(self) -> Weights:
        """Of the base model."""
        return self.encoder.weights

    @staticmethod
    def is_layer(name: str) -> bool:
        """Whether a weight may have a lower precision."""
        return name.startswith("encoder.") and ".LayerNorm." not in name

    def bare(self) -> Any:
        """A model of transformers with weights of no meaning."""
        from transformers import BertConfig, BertModel

        return BertModel(BertConfig.from_pretrained(self._base), add_pooling_layer=False)

    def read(self, folder: Path, name: str, split: str, limit: int | None) -> Texts:
        """The first examples of a split, and the task's head."""
        head = load_file(folder / "heads" / f"{name}.safetensors")
        with np.load(folder / "tests" / f"{name}.npz") as file:
            parts = (file[f"{split}_{part}"][:limit].astype(np.int64) for part in ("ids", "len", "y"))
            ids, lengths, labels = map(torch.from_numpy, parts)
        order = torch.argsort(lengths, stable=True)
        sequences = [ids[i, : lengths[i]] for i in order.tolist()]
        batches = tuple(map(self.encoder.batch, share(sequences)))
        return Texts(batches, order, labels, (head["weight"], head["bias"]))

    def scores(self, texts: Texts, weights: Weights) -> tuple[Tensor, Tensor]:
        """Log-likelihoods of the classes, in the order of the file, and the right ones.  (e, c), (e,)"""
        features = torch.cat([self.encoder.features(batch, weights) for batch in texts.batches])
        found = torch.addmm(texts.head[1], features, texts.head[0].mT).log_softmax(1)
        return found[torch.argsort(texts.order)], texts.labels


def share(sequences: Sequence[Tensor]) -> list[list[Tensor]]:
    """In order, at most `_TOKENS` tokens a share (unless one sequence has more)."""
    shares: list[list[Tensor]] = [[]]
    room = _TOKENS
    for sequence in sequences:
        if len(sequence) > room and shares[-1]:
            shares.append([])
            room = _TOKENS
        shares[-1].append(sequence)
        room -= len(sequence)
    return shares
