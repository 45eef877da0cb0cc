"""How a chart tells its series apart: one setting by colour, the next one by the shape of the marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lorafold.commands.report.page.inks import LIGHT, SERIES, series_colour
from lorafold.commands.report.sweep import Sweep, SweepRun, words
from lorafold.commands.report.sweep.differing import values

MARKS = ("o", "s", "D", "^", "v")  # as matplotlib calls them

LegendEntry = tuple[str, str, str]  # colour, mark, text


@dataclass(frozen=True)
class Encoding:
    """The settings that differ and that are not an axis, in their order.

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
        return (run.command, *(_word(key, run) for key in self.keys))

    def colour(self, run: SweepRun) -> str:
        """The colour of a run's mark and line."""
        return series_colour(self._index(self.by_colour, run))

    def mark(self, run: SweepRun) -> str:
        """The shape of a run's mark."""
        return MARKS[self._index(self.by_mark, run)]

    def legend(self) -> list[list[LegendEntry]]:
        """For each of the two settings its values; those that share the last colour share an entry."""
        entries = []
        if self.by_colour:
            texts = [f"{self.by_colour}={value}" for value in self._values[self.by_colour]]
            coloured = [(series_colour(index), MARKS[0], text) for index, text in enumerate(texts[:SERIES])]
            rest = [(series_colour(SERIES), MARKS[0], f"{len(texts) - SERIES} more")] if len(texts) > SERIES else []
            entries.append([*coloured, *rest])
        if self.by_mark:
            texts = [f"{self.by_mark}={value}" for value in self._values[self.by_mark]]
            entries.append([(LIGHT["soft"], mark, text) for mark, text in zip(MARKS, texts, strict=False)])
        return entries

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        settings = [run.settings for run in self.sweep.runs]
        return {key: values(key, settings) for key in self.keys}

    def _index(self, key: str | None, run: SweepRun) -> int:
        if key is None or key not in run.settings:
            return 0
        return self._values[key].index(_word(key, run))


def described(sweep: Sweep, run: int, also: Sequence[str] = ()) -> str:
    """A run in one line: its name, its settings, and more."""
    settings = sweep.runs[run].settings
    asked = [f"{key}={words(key, settings[key])}" for key in sweep.differing if key in settings]
    return ", ".join([f"run {sweep.names[run]}", *asked, *also])


def _word(key: str, run: SweepRun) -> str:
    return words(key, run.settings[key]) if key in run.settings else ""
