"""The parts of the model in one run, as a table of colours: for a file; the page draws its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lorafold.commands.report.page.encoding import described
from lorafold.commands.report.sweep import Numbers, Sweep
from lorafold.commands.report.sweep.finished_run import SIDES
from lorafold.pages.drawing import Area, Picture, Words
from lorafold.pages.drawing.shapes import Shape, text_width

# "mako" of seaborn, from 1 to 0: as on the page (page/script/colour.js).
MAKO = ("#1d1426", "#2e1e3b", "#413d7b", "#37659e", "#348fa7", "#40b7ad", "#8bdab2", "#def5e5")
_CELL = (64, 26)  # width and height, pixels
_HEAD = 64
_LONGEST = 36  # characters of a label


class Column(NamedTuple):
    """One number of every part: its heading in two lines, and where it is."""

    heading: str
    below: str
    measure: str  # "kept", "left", "right" or "error"
    adapter: int

    def of(self, numbers: Numbers) -> float | None:
        """The number; None where the part has none."""
        if self.measure == "error":
            return numbers.error
        values = numbers.kept if self.measure == "kept" else numbers.phi_of(self.measure)
        return values[self.adapter] if self.adapter < len(values) else None


def columns(adapters: int) -> list[Column]:
    """Of a heat map: kept and φ to each adapter, and the error."""
    kept = [Column("kept", f"of {i + 1}", "kept", i) for i in range(adapters)]
    phi = [Column(f"φ {side}", f"to {i + 1}", side, i) for side in SIDES for i in range(adapters)]
    return [*kept, *phi, Column("error", "", "error", 0)]


def heat_picture(sweep: Sweep, run: int) -> Picture:
    """Rows are the parts of the model, columns its numbers; all in the same colours from 0 to 1."""
    chosen = sweep.runs[run]
    labels = [f"{_short(block.label)} ({block.modules})" for block in chosen.blocks]
    heads = columns(len(chosen.inputs))
    left = max(map(text_width, labels), default=0) + 12
    shapes: list[Shape] = [Words(0, 12, described(sweep, run), ink="ink", bold=True), *_heads(heads, left)]
    for row, (label, block) in enumerate(zip(labels, chosen.blocks, strict=True)):
        y = _HEAD + row * _CELL[1]
        shapes.append(Words(0, y + 17, label))
        for place, column in enumerate(heads):
            shapes += _cell(left + place * _CELL[0], y, column.of(block.numbers))
    width = max(left + len(heads) * _CELL[0], text_width(described(sweep, run)) * 1.06)
    return Picture(width, _HEAD + len(labels) * _CELL[1], tuple(shapes), f"parts of the model, {described(sweep, run)}")


def _heads(heads: list[Column], left: float) -> Iterator[Shape]:
    for place, column in enumerate(heads):
        x = left + (place + 0.5) * _CELL[0] - 1
        yield Words(x, _HEAD - 24, column.heading, anchor="middle")
        yield Words(x, _HEAD - 9, column.below, anchor="middle")


def _cell(x: float, y: float, value: float | None) -> Iterator[Shape]:
    width, height = (size - 2 for size in _CELL)
    if value is None:
        yield Area(x, y, width, height, "rule")
        return
    colour = _colour(value)
    yield Area(x, y, width, height, colour)
    yield Words(x + width / 2, y + 17, f"{value:.2f}", ink=_ink_on(colour), anchor="middle")


def _colour(value: float) -> str:
    position = (1 - min(1.0, max(0.0, value))) * (len(MAKO) - 1)
    index = min(len(MAKO) - 2, int(position))
    both = zip(_rgb(MAKO[index]), _rgb(MAKO[index + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (position - index)):02x}" for a, b in both)


def _ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast; they have the same where the luminance is 0.2."""
    red, green, blue = ((channel / 255) ** 2.2 for channel in _rgb(colour))
    return "#14181b" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 else "#ffffff"


def _rgb(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
