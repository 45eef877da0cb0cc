"""Tables of results: closing ones as plain text, which terminals and notebooks draw, and data frames of modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import Any

from lorafold.adapters.naming.model_parts import group_of, labels
from lorafold.common.errors import LorafoldError
from lorafold.common.text import span
from lorafold.pipelines._metrics import Json

Metrics = Mapping[str, Any]  # of one module
Row = tuple[str, ...]

_WHOLE = ("angles", "kernel")  # lists that are one value
_CELL = '<{0} style="white-space: pre; text-align: {1}">{2}</{0}>'


@dataclass(frozen=True)
class Table:
    """Cells as they are shown.

    Args:
        headers: of the columns; they may have two lines.
        rows: one cell per column.
        total: of all rows; or None.
        left: columns of words, which are left-aligned; numbers are right-aligned.
    """

    headers: Row
    rows: tuple[Row, ...]
    total: Row | None = None
    left: tuple[int, ...] = (0,)

    def html(self, title: str, notes: Iterable[str] = ()) -> str:
        """On its own, for a notebook. Every word is escaped: names come from files, which may hold anything."""
        head = self._row("th", self.headers)
        rows = "".join(self._row("td", row) for row in self.rows)
        total = f"<tfoot>{self._row('th', self.total)}</tfoot>" if self.total else ""
        lines = "".join(f"<div>{escape(note)}</div>" for note in notes)
        return (
            f"<div><b>{escape(title)}</b></div>"
            f"<table><thead>{head}</thead><tbody>{rows}</tbody>{total}</table><small>{lines}</small>"
        )

    def _row(self, tag: str, cells: Row) -> str:
        sides = ("left" if column in self.left else "right" for column in range(len(cells)))
        return f"<tr>{''.join(_CELL.format(tag, *cell) for cell in zip(sides, map(escape, cells), strict=True))}</tr>"


def by_part(modules: Sequence[Metrics], most: int) -> dict[str, list[Metrics]]:
    """The modules of each part of the model, neighbours together where there are more than `most` parts."""
    groups = [group_of(module["name"]) for module in modules]
    names = labels(groups, most)
    members: dict[str, list[Metrics]] = {label: [] for label in names.values()}
    for group, module in zip(groups, modules, strict=True):
        members[names[group]].append(module)
    return members


def source_lines(inputs: Sequence[Metrics]) -> list[str]:
    """`#1: style.safetensors (rank 16)`, one per adapter."""
    return [
        f"#{position}: {entry['path'] or 'in memory'} (rank {span(entry['ranks'])})"
        for position, entry in enumerate(inputs, 1)
    ]


def data_frame(rows: Iterable[Metrics]) -> Any:
    """A pandas data frame: keys inside keys become `left_phi`, numbers per adapter `retained_1`, `retained_2`.

    Raises:
        LorafoldError: pandas is not installed.
    """
    try:
        pandas: Any = import_module("pandas")
    except ImportError:
        remedy = "Run pip install pandas."
        raise LorafoldError("a data frame needs pandas, which is not installed", remedy=remedy) from None
    return pandas.DataFrame([dict(_flat(row)) for row in rows])


def pair_rows(modules: Iterable[Metrics]) -> Iterator[Json]:
    """One per module and pair of adapters, which are counted from 1."""
    for module in modules:
        fields = {key: value for key, value in module.items() if key != "pairs"}
        for pair in module["pairs"]:
            first, second = (position + 1 for position in pair["pair"])
            yield {**fields, "first": first, "second": second, **{k: v for k, v in pair.items() if k != "pair"}}


def _flat(entry: Metrics) -> Iterator[tuple[str, Any]]:
    for key, value in entry.items():
        if key == "shape":
            yield from zip("mn", value, strict=True)
        elif isinstance(value, Mapping):
            yield from ((f"{key}_{inner}", item) for inner, item in _flat(value))
        elif isinstance(value, list) and key not in _WHOLE:
            yield from ((f"{key}_{position}", item) for position, item in enumerate(value, 1))
        else:
            yield key, value
