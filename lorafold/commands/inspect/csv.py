"""The modules of inspected adapters as a table for spreadsheets and data frames: one row per adapter and module."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorafold.adapters.files.atomic import staged
from lorafold.adapters.naming.model_parts import group_of

_COLUMNS = ("layer", "kind", "rank", "alpha", "scale", "dtype", "norm", "spectral_norm", "used", "rank_95")


def write_csv(path: Path, adapters: Sequence[Mapping[str, Any]]) -> None:
    """Write the table in one step; an empty cell is undefined."""
    with staged(path) as scratch, scratch.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow(["adapter", "name", "part", "number", "m", "n", *_COLUMNS])
        for adapter in adapters:
            for module in adapter["modules"]:
                where = (adapter["path"], module["name"], *group_of(module["name"]), *module["shape"])
                writer.writerow([*where, *(module[column] for column in _COLUMNS)])
