"""What pictures are made of. Pixels count from the upper left corner; inks are roles (see `inks`) or #rrggbb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, pi, sin

Point = tuple[float, float]  # pixels: to the right, down

CIRCLE = "circle"
_CORNERS = {"square": (4, 1 / 8), "diamond": (4, 0.0), "triangle": (3, -1 / 12), "wedge": (3, 1 / 12)}  # and the turn
_AREA = {"square": 1.25, "diamond": 1.3, "triangle": 1.4, "wedge": 1.4}  # so that all look equally large
MARKS = (CIRCLE, *_CORNERS)


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: tuple[Point, ...]
    ink: str
    width: float = 1.0
    dashed: bool = False

    def moved(self, x: float, y: float) -> Line:
        return replace(self, points=tuple((px + x, py + y) for px, py in self.points))


@dataclass(frozen=True)
class Area:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    ink: str

    def moved(self, x: float, y: float) -> Area:
        return replace(self, x=self.x + x, y=self.y + y)


@dataclass(frozen=True)
class Mark:
    """A run in a chart.

    Args:
        kind: one of `MARKS`.
        run: number of the run, for those who press it; None in a legend.
        title: what it says when pointed at.
    """

    x: float
    y: float
    ink: str
    kind: str = CIRCLE
    radius: float = 4.5
    run: int | None = None
    title: str = ""

    def moved(self, x: float, y: float) -> Mark:
        return replace(self, x=self.x + x, y=self.y + y)

    def corners(self) -> tuple[Point, ...]:
        """Of all marks that are no circles."""
        count, turn = _CORNERS[self.kind]
        size = self.radius * _AREA[self.kind]
        angles = [2 * pi * (corner / count + turn) for corner in range(count)]
        return tuple((self.x + size * cos(angle), self.y + size * sin(angle)) for angle in angles)


@dataclass(frozen=True)
class Words:
    """A line of text; `anchor` is "start", "middle" or "end"."""

    x: float
    y: float
    text: str
    ink: str = "soft"
    anchor: str = "start"
    size: float = 12.0
    bold: bool = False

    def moved(self, x: float, y: float) -> Words:
        return replace(self, x=self.x + x, y=self.y + y)


Shape = Line | Area | Mark | Words


@dataclass(frozen=True)
class Picture:
    """Shapes on a sheet; `label` says in words what it shows."""

    width: float
    height: float
    shapes: tuple[Shape, ...]
    label: str = ""


def side_by_side(pictures: Sequence[Picture], gap: float) -> Picture:
    """One row of pictures."""
    shapes: list[Shape] = []
    x = 0.0
    for picture in pictures:
        shapes += [shape.moved(x, 0) for shape in picture.shapes]
        x += picture.width + gap
    label = "; ".join(picture.label for picture in pictures)
    return Picture(max(0.0, x - gap), max((p.height for p in pictures), default=0.0), tuple(shapes), label)


def stacked(pictures: Sequence[Picture], gap: float) -> Picture:
    """One column of pictures."""
    shapes: list[Shape] = []
    y = 0.0
    for picture in pictures:
        shapes += [shape.moved(0, y) for shape in picture.shapes]
        y += picture.height + gap
    label = "; ".join(filter(None, (picture.label for picture in pictures)))
    return Picture(max((p.width for p in pictures), default=0.0), max(0.0, y - gap), tuple(shapes), label)


def text_width(text: str, size: float = 12.0) -> float:
    """About how wide a line of text is, in pixels: the fonts of readers differ."""
    return 0.56 * size * len(text)
