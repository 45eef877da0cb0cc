"""Axes of a chart: from numbers to pixels, and where the ticks are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, log10

from lorafold.console.tables import amount
from lorafold.pages.drawing.shapes import Line, Picture, Shape, Words, text_width

LEFT, RIGHT, TOP, BOTTOM = 44, 12, 26, 42  # margins of a chart, for the labels of its axes
_TINY = 1e-100
_ROUND = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """One direction of a chart.

    Args:
        low, high: the ends, low < high; both positive where `log`.
        ticks: where the marks are.
        text: how a tick reads.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    text: Callable[[float], str]
    label: str
    log: bool = False

    def share(self, value: float) -> float:
        """Where the value lies between the ends: 0 to 1."""
        low, high, at = (log10(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low)


def linear(values: Sequence[float], label: str, wanted: int) -> Axis:
    """Round numbers around all values, about `wanted` ticks; shares stay between 0 and 1, amounts above 0."""
    low, high = min(values), max(values)
    least = 0.0 if low >= 0 else -inf
    most = 1.0 if least == 0 and high <= 1 + 1e-6 else inf
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.05 * (abs(low) if abs(low) > _TINY else 1.0)
        low, high = low - margin, high + margin
    step = _step((high - low) / wanted)
    first, last = floor(max(low, least) / step + 1e-9), ceil(min(high, most) / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, _tick_text, label)


def logarithmic(values: Sequence[float], label: str, text: Callable[[float], str], width: float) -> Axis:
    """A tick at every value that occurs, as far as there is room for its text in `width` pixels."""
    low, high = min(values), max(values)
    margin = (high / low) ** 0.06 if high > low else 1.5
    axis = Axis(low / margin, high * margin, (), text, label, log=True)
    ticks: list[float] = []
    end = float("-inf")
    for value in sorted(set(values)):
        half = text_width(text(value), 11.5) / 2 + 4
        if width * axis.share(value) - half >= end:
            ticks.append(value)
            end = width * axis.share(value) + half
    return Axis(axis.low, axis.high, tuple(ticks), text, label, log=True)


@dataclass(frozen=True)
class Sheet:
    """An empty chart with its axes; what is drawn later lies on top."""

    width: float
    height: float
    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        across, down = self.width - LEFT - RIGHT, self.height - TOP - BOTTOM
        return LEFT + across * self.x.share(x), TOP + down * (1 - self.y.share(y))

    def picture(self, shapes: Sequence[Shape], label: str) -> Picture:
        """The chart with something on it."""
        return Picture(self.width, self.height, (*self._axes(), *shapes), label)

    def _axes(self) -> list[Shape]:
        right, bottom = self.width - RIGHT, self.height - BOTTOM
        shapes: list[Shape] = []
        for tick in self.y.ticks:
            _, y = self.at(self.x.low, tick)
            shapes.append(Line(((LEFT, y), (right, y)), "rule"))
            shapes.append(Words(LEFT - 7, y + 4, self.y.text(tick), anchor="end", size=11.5))
        for tick in self.x.ticks:
            x, _ = self.at(tick, self.y.low)
            shapes.append(Line(((x, bottom), (x, bottom + 4)), "soft"))
            shapes.append(Words(x, bottom + 17, self.x.text(tick), anchor="middle", size=11.5))
        shapes.append(Words(0, 12, self.y.label))
        shapes.append(Words((LEFT + right) / 2, self.height - 6, self.x.label, anchor="middle"))
        return shapes


def _tick_text(value: float) -> str:
    """Short enough for the margin: 275 k instead of 275000."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{'-' if value < 0 else ''}{amount(abs(value))}"


def _step(raw: float) -> float:
    power = 10.0 ** floor(log10(raw))
    return next(factor * power for factor in _ROUND if factor * power >= raw * 0.999)
