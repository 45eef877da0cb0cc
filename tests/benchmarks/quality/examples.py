"""Labelled examples of a task in three splits, and what tells one set of examples from another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

SPLITS = ("test", "val", "train")
Example = tuple[Any, ...]  # a text, the number of its label, and what else belongs to it


@dataclass(frozen=True)
class Examples:
    """Args:
    labels: what the numbers stand for.
    splits: examples of "train", "val" and "test".
    """

    labels: tuple[str, ...]
    splits: Mapping[str, Sequence[Example]]

    @property
    def digest(self) -> str:
        """Equal for equal examples in equal order."""
        text = json.dumps([self.labels, [self.splits[split] for split in SPLITS]], ensure_ascii=False)
        return sha256(text.encode()).hexdigest()


def divided(labels: Iterable[str], examples: Iterable[Example], sizes: Sequence[int], random: Random) -> Examples:
    """In an order drawn at random; `sizes` of test, val and train. No text is in two splits."""
    shuffled = list({example[0]: example for example in examples}.values())
    random.shuffle(shuffled)
    ends = [sum(sizes[: number + 1]) for number in range(len(SPLITS))]
    parts = {split: shuffled[end - size : end] for split, size, end in zip(SPLITS, sizes, ends, strict=True)}
    return Examples(tuple(labels), parts)


def balanced(texts: Mapping[str, Iterable[str]], sizes: Sequence[int], random: Random, least: int = 0) -> Examples:
    """As many examples of each label in every split; a label with fewer than `least` texts is left out.

    `sizes` of test, val and train are upper bounds: train takes what is left of each label.
    """
    distinct = {label: sorted(set(texts[label])) for label in sorted(texts)}
    kept = {label: of for label, of in distinct.items() if len(of) >= least}
    shares = [size // len(kept) for size in sizes]
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for number, of in enumerate(kept.values()):
        random.shuffle(of)
        start = 0
        for split, share in zip(SPLITS, shares, strict=True):
            splits[split] += [(text, number) for text in of[start : start + share]]
            start += share
    for part in splits.values():
        random.shuffle(part)
    return Examples(tuple(kept), splits)


def alone(texts: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Without the texts that have more than one label."""
    owners: dict[str, set[str]] = {}
    for label, of in texts.items():
        for text in of:
            owners.setdefault(text, set()).add(label)
    return {label: {text for text in of if len(owners[text]) == 1} for label, of in texts.items()}
