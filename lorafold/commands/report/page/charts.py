"""Runs as points of a chart: lines through the runs of a series, and the Pareto front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from lorafold.commands.report.page.encoding import Encoding, described
from lorafold.commands.report.sweep import SweepRun
from lorafold.commands.report.sweep.pareto import pareto_front
from lorafold.console.tables import amount
from lorafold.pages.drawing import Line, Mark, Picture
from lorafold.pages.drawing.axes import LEFT, RIGHT, Axis, Sheet, linear, logarithmic
from lorafold.pages.drawing.shapes import Shape

Value = Callable[[SweepRun], float | None]
Front = bool  # whether a smaller x is better on the front
_HEIGHT = 0.72  # of a chart, by its width
_TALLEST = 340.0
_RADIUS = 5.0
_SMALLER = 0.62  # for every mark that lies under a mark, up to
_LAYERS = 2  # of them: of a still smaller mark, the border alone would be seen


@dataclass(frozen=True)
class Chart:
    """Two numbers of every run.

    Args:
        x, y: of a run; a run that lacks one is not drawn.
        labels: of the axes, x and y.
        encoding: of the series.
        front: the Pareto front, if one is to be drawn: True where a smaller x is better.
        order: along the lines through a series; None: no lines.
        amounts: x is a number of something, on a logarithmic axis.
        ranks: x is a rank, on a logarithmic axis.
    """

    x: Value
    y: Value
    labels: tuple[str, str]
    encoding: Encoding
    front: Front | None = None
    order: Value | None = None
    amounts: bool = False
    ranks: bool = False

    @cached_property
    def points(self) -> dict[int, tuple[float, float]]:
        """By number of the run."""
        found = ((number, self.x(run), self.y(run)) for number, run in enumerate(self.encoding.sweep.runs))
        positive = self.amounts or self.ranks
        return {number: (x, y) for number, x, y in found if x is not None and y is not None and (x > 0 or not positive)}

    @cached_property
    def best(self) -> list[int]:
        """The runs on the front, in the order of x."""
        if self.front is None:
            return []
        numbers, points = list(self.points), list(self.points.values())
        return [numbers[index] for index in pareto_front(points, smallest_x=self.front)]

    def picture(self, width: float) -> Picture:
        """The chart; there has to be a point."""
        points = self.points
        sheet = Sheet(width, min(_TALLEST, _HEIGHT * width), self._x_axis(width), self._y_axis())
        places = {number: sheet.at(*point) for number, point in points.items()}
        shapes: list[Shape] = [*self._front_line(sheet), *self._lines(places), *self._marks(places)]
        return sheet.picture(shapes, f"{self.labels[1]} against {self.labels[0]}, {len(points)} runs")

    def _x_axis(self, width: float) -> Axis:
        values = [x for x, _ in self.points.values()]
        room = width - LEFT - RIGHT
        if self.amounts:
            return logarithmic(values, self.labels[0], amount, room)
        if self.ranks:
            return logarithmic(values, self.labels[0], lambda value: f"{value:.4g}", room)
        return linear(values, self.labels[0], max(2, int(room / 70)))

    def _y_axis(self) -> Axis:
        return linear([y for _, y in self.points.values()], self.labels[1], 4)

    def _marks(self, places: dict[int, tuple[float, float]]) -> list[Mark]:
        """A mark on top of others is smaller, so that they are seen: runs may agree."""
        seen: Counter[tuple[int, int]] = Counter()
        marks = []
        for number, (x, y) in places.items():
            pixel = round(x), round(y)
            marks.append(self._mark(number, places, seen[pixel]))
            seen[pixel] += 1
        return marks

    def _mark(self, number: int, places: dict[int, tuple[float, float]], below: int) -> Mark:
        sweep, run = self.encoding.sweep, self.encoding.sweep.runs[number]
        x, y = self.points[number]
        title = described(sweep, number, [f"{self.labels[0]} {x:.4g}", f"{self.labels[1]} {y:.4g}"])
        radius = _RADIUS * _SMALLER ** min(below, _LAYERS)
        return Mark(*places[number], self.encoding.ink(run), self.encoding.mark(run), radius, number, title)

    def _lines(self, places: dict[int, tuple[float, float]]) -> list[Line]:
        """Through the runs of every series, in their order."""
        if self.order is None:
            return []
        runs = self.encoding.sweep.runs
        series: dict[tuple[str, ...], list[tuple[float, int]]] = {}
        for number in places:
            if (at := self.order(runs[number])) is not None:
                series.setdefault(self.encoding.series(runs[number]), []).append((at, number))
        paths = [[number for _, number in sorted(members)] for members in series.values() if len(members) > 1]
        return [Line(tuple(places[number] for number in path), self.encoding.ink(runs[path[0]]), 1.5) for path in paths]

    def _front_line(self, sheet: Sheet) -> list[Line]:
        """The border of what is beaten by a run: a staircase, dashed."""
        corners = _staircase([self.points[number] for number in self.best], smallest_x=bool(self.front))
        places = tuple(sheet.at(*corner) for corner in corners)
        return [Line(places, "front", 1.5, dashed=True)] if len(places) > 1 else []


def _staircase(points: Sequence[tuple[float, float]], *, smallest_x: bool) -> list[tuple[float, float]]:
    """Through points in the order of x, by way of corners that both neighbours are at least as good as."""
    corners = list(points[:1])
    for (x, y), (next_x, next_y) in pairwise(points):
        corners += [(next_x, y) if smallest_x else (x, next_y), (next_x, next_y)]
    return corners
