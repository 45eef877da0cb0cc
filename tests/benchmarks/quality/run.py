"""Measurements of single adapters and of merges, one JSON record each.

A record is found again by its key: everything that decides what it says, but for the code. Whether an example was
answered correctly is one bit; a record has the bits of an adapter's examples, in the order of the file, as hex.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from quality.merges import Config, Merger, Refused
from quality.scorer import Bench, Correct, Scored, Scorer
from quality.sets import AdapterSet

Json = dict[str, Any]
Accuracies = Mapping[tuple[str, str], float]  # of single adapters, by name and split


@dataclass(frozen=True)
class Protocol:
    """How to measure.

    Args:
        split: "test", or "val" to search without looking at test examples. λ is tuned on val either way.
        lambdas: ascending factors on the merged update, 1 among them; 1 alone: nothing is tuned.
        limit: only so many examples of every split.
        precision: "float32" or "bfloat16", of the encoder's layers.
        seed: of random rules.
    """

    split: str
    lambdas: tuple[float, ...]
    limit: int | None
    precision: str
    seed: int

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that are scored."""
        return tuple(dict.fromkeys((self.split, "val") if len(self.lambdas) > 1 else (self.split,)))


def single_key(name: str, split: str, protocol: Protocol) -> str:
    """Of the record of an adapter by itself."""
    return _text({"adapter": name, "split": split, "limit": protocol.limit, "precision": protocol.precision})


def merge_key(config: Config, names: AdapterSet, protocol: Protocol) -> str:
    """Of the record of a merge; the configuration's name is no part of it."""
    method = {"tool": config.tool, "settings": config.settings, "rank": config.rank}
    return _text({"adapters": names, **method, **asdict(protocol)})


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)


class Lab:
    """What a process keeps between measurements."""

    def __init__(self, bench: Bench, base: Path, protocol: Protocol) -> None:
        self._scorer = Scorer(bench, base, protocol.limit, protocol.precision)
        self._merger = Merger(bench, self._scorer.model.bare)
        self._protocol = protocol

    def single(self, name: str, split: str) -> Json:
        """An adapter by itself, and its head on the base model alone."""
        own = self._scorer.scored(name, split, self._scorer.weights(self._merger.update(name)))
        bare = self._scorer.scored(name, split, self._scorer.weights({}))
        bits = {"with": pack(own.correct), "without": pack(bare.correct)}
        losses = {"with": own.loss, "without": bare.loss}
        found = {"adapter": name, "split": split, "examples": len(own.correct), **bits, "losses": losses}
        return {"key": single_key(name, split, self._protocol), **found, "evaluations": 2}

    def merge(self, config: Config, names: AdapterSet, alone: Accuracies) -> Json:
        """A merge at λ = 1 and at the λ that is best on val."""
        key = merge_key(config, names, self._protocol)
        described = {"key": key, "config": config.label, "adapters": names}
        try:
            merged = self._merger.merge(config, names, self._protocol.seed)
        except Refused as refusal:
            return {**described, "refused": str(refusal), "evaluations": 0}
        scored: dict[tuple[float, str], dict[str, Scored]] = {}

        def score(scale: float, split: str) -> dict[str, Scored]:
            if (scale, split) not in scored:
                weights = self._scorer.weights(merged.update, scale)
                scored[scale, split] = {name: self._scorer.scored(name, split, weights) for name in names}
            return scored[scale, split]

        def on_val(scale: float) -> float:
            return fmean(float(of.correct.mean()) / alone[name, "val"] for name, of in score(scale, "val").items())

        lambdas, split = self._protocol.lambdas, self._protocol.split
        best = search(on_val, lambdas) if len(lambdas) > 1 else 1.0
        final = {"untuned": score(1.0, split), "tuned": score(best, split)}
        bits = {what: {name: pack(of.correct) for name, of in tasks.items()} for what, tasks in final.items()}
        losses = {what: {name: of.loss for name, of in tasks.items()} for what, tasks in final.items()}
        val = {scale: on_val(scale) for scale, of in sorted(scored) if of == "val"}
        result = {"rank": merged.rank, "seconds": merged.seconds, "lambda": best, "val": val, **bits, "losses": losses}
        return {**described, **result, "evaluations": len(scored) * len(names)}


def search(value: Callable[[float], float], lambdas: Sequence[float]) -> float:
    """The best of every third, then uphill from it until both neighbours are no better; of equals the nearest to 1.

    Uphill from 1 alone is not enough: where one task is drowned, less of all is worse before it is better.
    """
    found = {scale: value(scale) for scale in lambdas[lambdas.index(1.0) % 3 :: 3]}
    while True:
        best = max(found, key=lambda scale: (found[scale], -abs(log(scale))))
        place = lambdas.index(best)
        beside = [scale for scale in lambdas[max(0, place - 1) : place + 2] if scale not in found]
        if not beside:
            return best
        found |= {scale: value(scale) for scale in beside}


def pack(correct: Correct) -> str:
    """Bits as hex."""
    return np.packbits(correct).tobytes().hex()


def unpack(text: str, examples: int) -> Correct:
    """The inverse of `pack`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=examples).astype(bool)
