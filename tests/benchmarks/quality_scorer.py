"""How well a merged update does the tasks of a bench folder, example by example.

A bench folder has tasks.json, adapters/NAME (PEFT), heads/NAME.safetensors (a linear head on the mean of the last
hidden states) and tests/NAME.npz with token ids, lengths and labels of the splits val and test. Adapters whose entries
in tasks.json name the same `task` are variants of one.

m = out, n = in, e = examples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from quality_encoder import Batch, Encoder, Weights
from safetensors.torch import load_file
from torch import Tensor

Update = Mapping[str, Tensor]  # ΔW (m, n) by module
Correct = NDArray[np.bool_]  # (e,), in the order of the file
# Tokens per batch: what they need between two layers stays in the cache.
_TOKENS = 1024


@dataclass(frozen=True)
class Bench:
    """A bench folder."""

    folder: Path

    @cached_property
    def tasks(self) -> dict[str, str]:
        """The task of every adapter, in the order of tasks.json."""
        entries = json.loads((self.folder / "tasks.json").read_text(encoding="utf-8"))
        return {name: entry.get("task", name) for name, entry in entries.items()}

    def adapter(self, name: str) -> Path:
        """Its PEFT folder."""
        return self.folder / "adapters" / name


@dataclass(frozen=True)
class Examples:
    """One split of one task, ready to be scored."""

    batches: tuple[Batch, ...]
    labels: Tensor  # (e,), in the order of the batches
    order: Tensor  # their places in the file  (e,)
    head: tuple[Tensor, Tensor]  # (classes, d), (classes,)


class Scorer:
    """Scores updates of the base model; what is read and embedded is kept."""

    def __init__(self, bench: Bench, base: Path, limit: int | None = None, precision: str = "float32") -> None:
        """`limit`: only so many examples of every split, the first ones; `precision`: dtype of the encoder's layers."""
        self.encoder = Encoder(base)
        self._bench, self._limit, self._dtype = bench, limit, getattr(torch, precision)
        self._splits: dict[tuple[str, str], Examples] = {}

    def weights(self, update: Update, scale: float = 1.0) -> Weights:
        """The base model's weights with W + scale · ΔW."""
        weights = dict(self.encoder.weights)
        for name, delta in update.items():
            weights[f"{name}.weight"] = torch.add(weights[f"{name}.weight"], delta, alpha=scale)
        return {name: weight.to(self._dtype) if _is_layer(name) else weight for name, weight in weights.items()}

    @torch.inference_mode()
    def correct(self, name: str, split: str, weights: Weights) -> Correct:
        """Which examples of the split the head of adapter `name` gets right."""
        examples = self._examples(name, split)
        features = torch.cat([self.encoder.features(batch, weights) for batch in examples.batches])
        found = torch.addmm(examples.head[1], features, examples.head[0].mT).argmax(1) == examples.labels
        correct = torch.empty_like(found)
        correct[examples.order] = found
        return correct.numpy()

    def _examples(self, name: str, split: str) -> Examples:
        if (name, split) not in self._splits:
            self._splits[name, split] = self._read(name, split)
        return self._splits[name, split]

    def _read(self, name: str, split: str) -> Examples:
        head = load_file(self._bench.folder / "heads" / f"{name}.safetensors")
        with np.load(self._bench.folder / "tests" / f"{name}.npz") as file:
            parts = (file[f"{split}_{part}"][: self._limit].astype(np.int64) for part in ("ids", "len", "y"))
            ids, lengths, labels = map(torch.from_numpy, parts)
        order = torch.argsort(lengths, stable=True)
        sequences = [ids[i, : lengths[i]] for i in order.tolist()]
        batches = tuple(map(self.encoder.batch, _share(sequences)))
        return Examples(batches, labels[order], order, (head["weight"], head["bias"]))


def _is_layer(name: str) -> bool:
    return name.startswith("encoder.") and ".LayerNorm." not in name


def _share(sequences: Sequence[Tensor]) -> list[list[Tensor]]:
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
