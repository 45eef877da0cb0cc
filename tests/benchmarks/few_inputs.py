"""The tables of docs/quality.md on merging with a few inputs, from the answers that docs/quality-few-inputs.json keeps.

    python tests/benchmarks/few_inputs.py           # print them
    python tests/benchmarks/few_inputs.py --write   # put them where they stand in docs/quality.md

A score is the mean over the tasks of (accuracy of the merged adapter) / (accuracy of the adapter alone), beside that of
the worst task. Intervals are those of a paired bootstrap over the test examples of every task.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
DATA, DOCUMENT = ROOT / "docs" / "quality-few-inputs.json", ROOT / "docs" / "quality.md"
SETS = (
    ("first", "second", "third"),
    ("first", "third", "fourth"),
    ("second", "third", "fourth"),
    ("first", "second", "fourth"),
    ("first", "second", "third", "fourth", "fifth", "sixth"),
    ("first", "second"),
    ("first", "third"),
    ("second", "third"),
)
METHODS = ("default", "`calibration=`", "`distill`", "PEFT svd", "PEFT ties_svd")
BEFORE = "`balance=0.7`"  # what the default was
REPLICATES, SEED = 2000, 0

Bits = np.ndarray[Any, np.dtype[np.bool_]]
Tasks = tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """Which test examples every adapter got right."""

    content: dict[str, Any]

    def bits(self, held: dict[str, str], task: str) -> Bits:
        """One per example of the task."""
        packed = np.frombuffer(bytes.fromhex(held[task]), dtype=np.uint8)
        return np.unpackbits(packed)[: self.content["examples"][task]].astype(bool)

    @cached_property
    def alone(self) -> dict[str, Bits]:
        """Of the adapters by themselves."""
        return {task: self.bits(self.content["alone"], task) for task in self.content["alone"]}

    def merged(self, method: str, rank: int, tasks: Tasks) -> dict[str, Bits] | None:
        """Of a merge, if it was made."""
        for one in self.content["merged"]:
            if (one["method"], one["rank"], tuple(one["tasks"])) == (method, rank, tasks):
                return {task: self.bits(one["correct"], task) for task in tasks}
        return None


def score(merged: dict[str, Bits], alone: dict[str, Bits]) -> tuple[float, float]:
    """Mean over the tasks, and the worst."""
    ratios = [float(bits.mean()) / max(float(alone[task].mean()), 1e-9) for task, bits in merged.items()]
    return sum(ratios) / len(ratios), min(ratios)


def figure(value: float, sign: str = "") -> str:
    """.926, 1.009, with a sign +.043."""
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{sign}.3f}").replace("-.000", ".000").replace("+.000", ".000")


def named(tasks: Tasks) -> str:
    """A set in words."""
    return "all six" if len(tasks) == 6 else ", ".join(tasks)


def score_table(answers: Answers, rank: int, methods: Sequence[str]) -> Iterator[list[str]]:
    """A row for each set of which all but PEFT's merges were made."""
    yield [f"encoder, rank {rank}", *methods]
    for tasks in SETS:
        merged = [answers.merged(method, rank, tasks) for method in methods]
        if all(one is not None for one in merged):
            yield [named(tasks), *(" / ".join(map(figure, score(one, answers.alone))) for one in merged if one)]


def difference_table(answers: Answers) -> Iterator[list[str]]:
    """Mean and worst task of one method above another, where intervals tell something."""
    calibrated, distilled = METHODS[1:3]
    yield ["", "calibrated - default", "distilled - calibrated"]
    for tasks in (*SETS[:5], SETS[6]):
        pairs = ((calibrated, "default"), (distilled, calibrated))
        yield [named(tasks), *(difference(answers, *pair, tasks) for pair in pairs)]


def difference(answers: Answers, one: str, other: str, tasks: Tasks) -> str:
    """`mean [low, high], worst [low, high]`, 95 %."""
    random = np.random.default_rng(SEED)
    drawn = [[random.integers(size, size=size) for size in sizes] for sizes in [_sizes(answers, tasks)] * REPLICATES]
    rows = dict(zip(tasks, map(np.array, zip(*drawn, strict=True)), strict=True))  # (replicates, examples)
    first, second = (_scores(answers.merged(method, 16, tasks) or {}, answers.alone, rows) for method in (one, other))
    draws = first - second
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    parts = ([figure(value, "+") for value in of] for of in zip(np.mean(draws, 0), low, high, strict=True))
    return ", ".join(f"{mean} [{least}, {most}]" for mean, least, most in parts)


def _sizes(answers: Answers, tasks: Tasks) -> list[int]:
    return [len(answers.alone[task]) for task in tasks]


def _scores(merged: dict[str, Bits], alone: dict[str, Bits], rows: dict[str, Any]) -> Any:
    """Mean and worst of every replicate.  (replicates, 2)"""
    own = {task: np.maximum(alone[task][rows[task]].mean(1), 1e-9) for task in merged}
    ratios = [bits[rows[task]].mean(1) / own[task] for task, bits in merged.items()]
    return np.stack([np.mean(ratios, 0), np.min(ratios, 0)], 1)


def markdown(rows: Iterator[list[str]]) -> str:
    """A table."""
    head, *body = rows
    return "\n".join(
        f"| {' | '.join(row)} |".replace("|  |", "| |") for row in [head, ["---"] * len(head), *body]
    ).replace(" --- ", "---")


@cache
def tables() -> dict[str, str]:
    """By the name of the mark that stands before them in the document."""
    answers = Answers(json.loads(DATA.read_text(encoding="utf-8")))
    return {
        "rank 16": markdown(score_table(answers, 16, METHODS)),
        "before": markdown(score_table(answers, 16, ("default", BEFORE))),
        "rank 32": markdown(score_table(answers, 32, METHODS[:3])),
        "differences": markdown(difference_table(answers)),
    }


def written(document: str) -> str:
    """The document with the tables as they follow from the answers."""
    for name, table in tables().items():
        mark = f"<!-- few_inputs.py: {name} -->\n"
        before, found, after = document.partition(mark)
        if not found:
            raise SystemExit(f"{DOCUMENT} has no line {mark!r}")
        document = before + mark + table + "\n\n" + after.partition("\n\n")[2]
    return document


def main() -> None:
    """Print the tables or write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    else:
        print("\n\n".join(tables().values()))


if __name__ == "__main__":
    main()
