"""The modules of a comparison as a table: one row per module and pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorafold.console.tables import SIDES
from lorafold.pipelines.compare.metrics import NULL_KEYS
from lorafold.runs.csv_table import write_csv

_RANDOM = ("phi_grid_mean", "random", "random_z", "random_p", "random_p_adjusted")
_SIDE = ("k", "l", "phi", *NULL_KEYS, *_RANDOM)


def write_modules(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write the table; `first` and `second` count the inputs from 1."""
    distances = list(metrics["config"]["distances"])
    sides = [f"{side}_{column}" for side in SIDES for column in (*_SIDE, *distances)]
    header = ["name", "group", "kind", "m", "n", "first", "second", "cosine", "norm_ratio", *sides]
    write_csv(path, header, _lines(metrics))


def _lines(metrics: Mapping[str, Any]) -> Iterator[list[Any]]:
    for module in metrics["modules"]:
        for pair in module["pairs"]:
            numbers = (number + 1 for number in pair["pair"])
            name = (module["name"], module["group"], module["kind"], *module["shape"])
            sides = (value for side in SIDES for value in _side(pair[side]))
            yield [*name, *numbers, pair["cosine"], pair["norm_ratio"], *sides]


def _side(side: Mapping[str, Any]) -> list[Any]:
    return [*(side[column] for column in _SIDE), *side["distances"].values()]
