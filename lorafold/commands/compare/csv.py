"""The modules of a comparison as a table for spreadsheets and data frames: one row per module and pair."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorafold.adapters.files.atomic import staged
from lorafold.console.tables import SIDES

_SIDE = ("k", "l", "phi", "phi_grid_mean", "chance", "z", "p", "p_adjusted")


def write_csv(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write the table in one step; `first` and `second` count the inputs from 1, an empty cell is undefined."""
    distances = list(metrics["config"]["distances"])
    sides = [f"{side}_{column}" for side in SIDES for column in (*_SIDE, *distances)]
    header = ["name", "group", "kind", "m", "n", "first", "second", "cosine", "norm_ratio", *sides]
    with staged(path) as scratch, scratch.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(_rows(metrics))


def _rows(metrics: Mapping[str, Any]) -> Iterator[list[Any]]:
    for module in metrics["modules"]:
        for pair in module["pairs"]:
            numbers = (number + 1 for number in pair["pair"])
            name = (module["name"], module["group"], module["kind"], *module["shape"])
            sides = (value for side in SIDES for value in _side(pair[side]))
            yield [*name, *numbers, pair["cosine"], pair["norm_ratio"], *sides]


def _side(side: Mapping[str, Any]) -> list[Any]:
    return [*(side[column] for column in _SIDE), *side["distances"].values()]
