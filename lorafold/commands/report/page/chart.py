"""Two numbers of every run: the points of a chart, the lines through the runs of a series, and the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lorafold.commands.report.page.encoding import Encoding, described
from lorafold.commands.report.sweep import SweepRun

Value = Callable[[SweepRun], float | None]
Point = tuple[float, float]
_LARGEST = 1e100  # of what an axis can hold: its margins must not overflow


@dataclass(frozen=True)
class Chart:
    """Two numbers of every run.

    Args:
        x, y: of a run; a run that lacks one is not drawn.
        labels: of the axes, x and y.
        encoding: of the series.
        smallest_x: whether a smaller x is better on the Pareto front; None: no front.
        order: along the lines through a series; None: no lines.
        logarithmic: the axis of x, with a tick at the values that occur.
    """

    x: Value
    y: Value
    labels: tuple[str, str]
    encoding: Encoding
    smallest_x: bool | None = None
    order: Value | None = None
    logarithmic: bool = False

    @cached_property
    def points(self) -> dict[int, tuple[float, float]]:
        """By number of the run."""
        least = 0.0 if self.logarithmic else -_LARGEST
        numbers = ((number, self.x(run), self.y(run)) for number, run in enumerate(self.encoding.sweep.runs))
        return {
            number: (x, y)
            for number, x, y in numbers
            if x is not None and y is not None and least < x < _LARGEST and abs(y) < _LARGEST
        }

    @cached_property
    def front(self) -> list[int]:
        """The runs on the Pareto front, in the order of x."""
        if self.smallest_x is None:
            return []
        numbers, points = list(self.points), list(self.points.values())
        return [numbers[index] for index in pareto_front(points, smallest_x=self.smallest_x)]

    @cached_property
    def lines(self) -> list[list[int]]:
        """The runs of every series that has more than one, in their order."""
        if self.order is None:
            return []
        runs = self.encoding.sweep.runs
        series: dict[tuple[str, ...], list[tuple[float, int]]] = {}
        for number in self.points:
            if (place := self.order(runs[number])) is not None:
                series.setdefault(self.encoding.series(runs[number]), []).append((place, number))
        return [[number for _, number in sorted(members)] for members in series.values() if len(members) > 1]

    def title(self, number: int) -> str:
        """What the mark of a run says when pointed at."""
        x, y = self.points[number]
        return described(self.encoding.sweep, number, [f"{self.labels[0]} {x:.4g}", f"{self.labels[1]} {y:.4g}"])


def pareto_front(points: Sequence[Point], *, smallest_x: bool) -> list[int]:
    """The points that no other one beats, in the order of x.

    One point beats another if it is at least as good in both numbers and better in one; of equal points all stay.

    Args:
        points: (x, y); the larger y the better.
        smallest_x: whether a smaller x is better, or a larger one.
    """
    sign = 1 if smallest_x else -1
    order = sorted(range(len(points)), key=lambda index: (sign * points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1] or points[index] == points[front[-1]]:
            front.append(index)
    return front if smallest_x else front[::-1]
