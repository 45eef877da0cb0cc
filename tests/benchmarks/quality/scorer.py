"""How well a merged update does the tasks of a bench folder, example by example.

A bench folder has tasks.json and adapters/NAME (PEFT). Adapters whose entries in tasks.json name the same `task` are
variants of one. Of an encoder's tasks it has heads/NAME.safetensors (a linear head on the mean of the last hidden
states) and tests/NAME.npz with token ids, lengths and labels of the splits val and test; of a language model's, which
have no heads, tests/NAME.npz has prompts, candidate answers and the numbers of the right ones, padded with -1.

m = out, n = in, e = examples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quality.answers import Answerer
from quality.classes import Classifier
from quality.lora import Weights

Update = Mapping[str, Tensor]  # ΔW (m, n) by module
Correct = NDArray[np.bool_]  # (e,), in the order of the file


@dataclass(frozen=True)
class Bench:
    """A bench folder."""

    folder: Path

    @cached_property
    def tasks(self) -> dict[str, str]:
        """The task of every adapter, in the order of tasks.json."""
        entries = json.loads((self.folder / "tasks.json").read_text(encoding="utf-8"))
        return {name: entry.get("task", name) for name, entry in entries.items()}

    @property
    def speaks(self) -> bool:
        """Whether the model is a language model."""
        return not (self.folder / "heads").exists()

    def adapter(self, name: str) -> Path:
        """Its PEFT folder."""
        return self.folder / "adapters" / name


@dataclass(frozen=True)
class Scored:
    """Which examples are right, and the mean negative log-likelihood of the right answers (of a text, per token)."""

    correct: Correct
    loss: float


class Scorer:
    """Scores updates of the base model; what is read and embedded is kept."""

    def __init__(self, bench: Bench, base: Path, limit: int | None = None, precision: str = "float32") -> None:
        """`limit`: only so many examples of every split, the first ones; `precision`: dtype of the model's layers."""
        self.model: Answerer | Classifier = Answerer(base) if bench.speaks else Classifier(base)
        self._folder, self._limit, self._dtype = bench.folder, limit, getattr(torch, precision)
        self._splits: dict[tuple[str, str], Any] = {}

    def weights(self, update: Update, scale: float = 1.0) -> Weights:
        """The base model's weights with W + scale · ΔW."""
        weights = dict(self.model.weights)
        for name, delta in update.items():
            weights[f"{name}.weight"] = torch.add(weights[f"{name}.weight"], delta, alpha=scale)
        layer = self.model.is_layer
        return {name: weight.to(self._dtype) if layer(name) else weight for name, weight in weights.items()}

    def correct(self, name: str, split: str, weights: Weights) -> Correct:
        """Which examples of the split the model gets right, with the head of adapter `name` where there are heads."""
        return self.scored(name, split, weights).correct

    @torch.inference_mode()
    def scored(self, name: str, split: str, weights: Weights) -> Scored:
        """The same, and how likely the right answers are."""
        if (name, split) not in self._splits:
            self._splits[name, split] = self.model.read(self._folder, name, split, self._limit)
        found, right = self.model.scores(self._splits[name, split], weights)
        loss = -found.gather(1, right[:, None]).mean()
        return Scored((found.argmax(1) == right).numpy(), float(loss))
