"""What a terminal shows in the end of what was written to it."""

from __future__ import annotations

from typing import NamedTuple

import pyte

_LINES, _COLUMNS = 1000, 1000


class Screen(NamedTuple):
    """The lines, as long as they were written: where a real terminal would wrap, nothing does here."""

    lines: list[str]
    cursor_hidden: bool


def screen(written: str) -> Screen:
    """What is left once everything is written, whatever was drawn and erased on the way."""
    terminal = pyte.Screen(_COLUMNS, _LINES)
    pyte.Stream(terminal).feed(written)
    last = max(terminal.buffer, default=-1)
    rows = [terminal.buffer[number] for number in range(last + 1)]
    lines = ["".join(row[x].data for x in range(max(row, default=-1) + 1)).rstrip() for row in rows]
    while lines and not lines[-1]:
        lines.pop()
    return Screen(lines, terminal.cursor.hidden)
