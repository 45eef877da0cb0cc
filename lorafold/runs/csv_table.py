"""Tables for spreadsheets and data frames. Their text comes from files of strangers, and spreadsheets run formulas."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lorafold.adapters.files.atomic import staged

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for the beginning of a formula


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write the table in one step; an empty cell is undefined.

    Text that a spreadsheet could run as a formula begins with an apostrophe; numbers stay numbers.
    """
    with staged(path) as scratch, scratch.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow(map(_cell, header))
        writer.writerows(map(_cell, line) for line in lines)


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
