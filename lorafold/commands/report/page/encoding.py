"""How a chart tells its series apart: one setting by colour, the next one by the shape of the marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lorafold.commands.report.sweep import Sweep, SweepRun, words
from lorafold.commands.report.sweep.differing import values
from lorafold.pages.drawing import Mark, Picture, Words
from lorafold.pages.drawing.inks import SERIES, series_ink
from lorafold.pages.drawing.shapes import CIRCLE, MARKS, Shape, text_width

_LINE = 22  # pixels of a line of the legend
_GAP = 18
_INDENT = 14.0
_MOST = 40  # characters of a value in a legend


@dataclass(frozen=True)
class Encoding:
    """Of the settings that differ and that are not an axis, in their order.

    Args:
        sweep: whose runs are drawn.
        axis: the setting along the lines.
    """

    sweep: Sweep
    axis: str

    @cached_property
    def keys(self) -> list[str]:
        """The settings that make a series: the choices first, for their colours stay the same in all charts."""
        keys = [key for key in self.sweep.differing if key != self.axis]
        return sorted(keys, key=lambda key: key in ("rank", "weights", "scale"))

    @cached_property
    def by_colour(self) -> str | None:
        """The setting that colours tell."""
        return next(iter(self.keys), None)

    @cached_property
    def by_mark(self) -> str | None:
        """The setting that shapes tell: the next one that has no more values than there are shapes."""
        return next((key for key in self.keys[1:] if len(self._values[key]) <= len(MARKS)), None)

    def series(self, run: SweepRun) -> tuple[str, ...]:
        """What the runs on one line have in common."""
        return (run.command, *(self._word(key, run) for key in self.keys))

    def ink(self, run: SweepRun) -> str:
        """Of a run's mark and line."""
        return series_ink(self._index(self.by_colour, run))

    def mark(self, run: SweepRun) -> str:
        """The shape of a run's mark."""
        return MARKS[self._index(self.by_mark, run)]

    def legend(self, width: float) -> Picture:
        """Both settings with their values, a line or more for each."""
        rows: list[Shape] = []
        y = 14.0
        for key in filter(None, (self.by_colour, self.by_mark)):
            shapes, y = self._row(key, y, width)
            rows += shapes
        return Picture(width, y - 8 if rows else 0, tuple(rows))

    def _row(self, key: str, y: float, width: float) -> tuple[list[Shape], float]:
        """The shapes for one setting from y on, and where the next one begins."""
        shapes: list[Shape] = [Words(0, y, key, ink="ink", bold=True)]
        x = text_width(key) + _GAP
        for ink, mark, text in self._entries(key):
            needed = 14 + text_width(text)
            if x + needed > width and x > _INDENT:
                x, y = _INDENT, y + _LINE
            shapes += [Mark(x + 5, y - 4, ink, mark), Words(x + 15, y, text)]
            x += needed + _GAP
        return shapes, y + _LINE

    def _entries(self, key: str) -> list[tuple[str, str, str]]:
        """Ink, mark and text of every value; the values that share the last ink share an entry."""
        values = [value if len(value) <= _MOST else value[: _MOST - 1] + "…" for value in self._values[key]]
        if key == self.by_mark:
            return [("soft", mark, value) for mark, value in zip(MARKS, values, strict=False)]
        entries = [(series_ink(index), CIRCLE, value) for index, value in enumerate(values[:SERIES])]
        return [*entries, (series_ink(SERIES), CIRCLE, "others")] if len(values) > SERIES else entries

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        settings = [run.settings for run in self.sweep.runs]
        return {key: values(key, settings) for key in self.keys}

    def _index(self, key: str | None, run: SweepRun) -> int:
        if key is None or key not in run.settings:
            return 0
        return self._values[key].index(self._word(key, run))

    @staticmethod
    def _word(key: str, run: SweepRun) -> str:
        return words(key, run.settings[key]) if key in run.settings else ""


def described(sweep: Sweep, run: int, also: Sequence[str] = ()) -> str:
    """A run in one line: its name, its settings, and more."""
    settings = sweep.runs[run].settings
    asked = [f"{key}={words(key, settings[key])}" for key in sweep.differing if key in settings]
    return ", ".join([f"run {sweep.names[run]}", *asked, *also])
