"""The modules of inspected adapters as a table: one row per adapter and module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorafold.adapters.naming.model_parts import group_of
from lorafold.runs.csv_table import write_csv

_COLUMNS = ("layer", "kind", "rank", "alpha", "scale", "dtype", "norm", "spectral_norm", "used", "rank_95")


def write_modules(path: Path, adapters: Sequence[Mapping[str, Any]]) -> None:
    """Write the table."""
    write_csv(path, ["adapter", "name", "part", "number", "m", "n", *_COLUMNS], _lines(adapters))


def _lines(adapters: Sequence[Mapping[str, Any]]) -> Iterator[list[Any]]:
    for adapter in adapters:
        for module in adapter["modules"]:
            where = (adapter["path"], module["name"], *group_of(module["name"]), *module["shape"])
            yield [*where, *(module[column] for column in _COLUMNS)]
