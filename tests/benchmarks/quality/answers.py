"""Which of a prompt's candidate answers a decoder finds likeliest, and how likely it finds the right one.

n = examples, c = candidates of each, k = tokens of the longest, p = answers' tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quality.decoder import Decoder, read_gguf
from quality.lora import Weights

_TOKENS = 512  # of a batch
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Sequences sorted by length, and the tokens whose likelihood counts.

    Args:
        sequences: token ids (l,) of prompts with answers, without the last token.
        rows: of the packed sequences, where the tokens are predicted  (p,)
        tokens: (p,)
        places: answers that the tokens belong to, as n · c + c'  (p,)
    """

    sequences: list[Tensor]
    rows: Tensor
    tokens: Tensor
    places: Tensor


@dataclass(frozen=True)
class Questions:
    """Args:
    batches: all of a split's examples.
    right: numbers of the right answers  (n,)
    choices: c.
    """

    batches: tuple[Batch, ...]
    right: Tensor
    choices: int


def questions(ids: Numbers, candidates: Numbers, right: Numbers) -> Questions:
    """Of arrays padded with -1: (n, l), (n or 1, c, k) and (n,)."""
    prompts = [row[row >= 0] for row in ids]
    answers = [[row[row >= 0] for row in of] for of in candidates]
    asked: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}  # offset, token and place, by sequence
    for number, prompt in enumerate(prompts):
        for choice, answer in enumerate(answers[number % len(answers)]):
            wanted = asked.setdefault((*prompt.tolist(), *answer[:-1].tolist()), [])
            place = number * candidates.shape[1] + choice
            wanted += [(len(prompt) - 1 + step, token, place) for step, token in enumerate(answer.tolist())]
    batches = tuple(_batch(part, asked) for part in _shares(sorted(asked, key=len)))
    return Questions(batches, torch.from_numpy(right), candidates.shape[1])


class Answerer:
    """The language model of a GGUF file."""

    def __init__(self, base: Path) -> None:
        self.decoder = read_gguf(base)

    @property
    def weights(self) -> Weights:
        """Of the base model."""
        return self.decoder.weights

    @staticmethod
    def is_layer(name: str) -> bool:
        """Whether a weight may have a lower precision."""
        return "_proj." in name

    def bare(self) -> Any:
        """A model of transformers with weights of no meaning, and hardly any vocabulary."""
        from transformers import LlamaConfig, LlamaForCausalLM

        return LlamaForCausalLM(LlamaConfig(vocab_size=8, **self.decoder.sizes))

    def read(self, folder: Path, name: str, split: str, limit: int | None) -> Questions:
        """The first examples of a split."""
        with np.load(folder / "tests" / f"{name}.npz") as file:
            ids, candidates, right = (file[f"{split}_{part}"].astype(np.int64) for part in ("ids", "cand", "y"))
        return questions(ids[:limit], candidates[:limit] if len(candidates) > 1 else candidates, right[:limit])

    def scores(self, asked: Questions, weights: Weights) -> tuple[Tensor, Tensor]:
        """Log-likelihoods per token of the candidates, and the right ones.  (n, c), (n,)"""
        return likelihoods(self.decoder, weights, asked), asked.right


def likelihoods(decoder: Decoder, weights: Weights, asked: Questions) -> Tensor:
    """Mean log-likelihood of the tokens of every answer.  (n, c)"""
    sums = torch.zeros(len(asked.right) * asked.choices)
    counts = torch.zeros_like(sums)
    for batch in asked.batches:
        hidden = decoder.hidden(decoder.tokens(batch.sequences), weights)
        rows, which = batch.rows.unique(return_inverse=True)
        logs = decoder.logits(hidden[rows], weights).log_softmax(-1)
        sums.index_add_(0, batch.places, logs[which, batch.tokens])
        counts.index_add_(0, batch.places, torch.ones(len(batch.places)))
    return (sums / counts).view(-1, asked.choices)


def _batch(part: Sequence[tuple[int, ...]], asked: dict[tuple[int, ...], list[tuple[int, int, int]]]) -> Batch:
    starts = np.cumsum([0, *map(len, part)])
    wanted = [
        (int(start) + offset, token, place)
        for start, sequence in zip(starts, part, strict=False)
        for offset, token, place in asked[sequence]
    ]
    rows, tokens, places = torch.tensor(wanted).unbind(1)
    return Batch([torch.tensor(sequence) for sequence in part], rows, tokens, places)


def _shares(sequences: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """In order, at most `_TOKENS` tokens a share (unless one sequence has more)."""
    share: list[tuple[int, ...]] = []
    for sequence in sequences:
        if share and sum(map(len, share)) + len(sequence) > _TOKENS:
            yield share
            share = []
        share.append(sequence)
    yield share
