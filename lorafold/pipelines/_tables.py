"""The closing tables as plain text: the commands draw them in a terminal, the results in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lorafold.adapters.naming.model_parts import group_of, labels

Metrics = Mapping[str, Any]  # of one module
Row = tuple[str, ...]

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
