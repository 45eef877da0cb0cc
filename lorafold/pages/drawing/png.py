"""Pictures as PNG, by matplotlib: an extra that nothing else needs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lorafold.pages.drawing.inks import LIGHT
from lorafold.pages.drawing.shapes import CIRCLE, Area, Line, Mark, Picture, Words

_MARGIN = 16  # pixels of the picture, as all lengths here
_DOTS = 2  # of the file for each of them
_INCH = 100  # so many of them
_POINTS = 72 / _INCH

_ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def png_available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def write_png(path: Path, picture: Picture) -> None:
    """Write the picture on white paper, with two dots for each of its pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = picture.width + 2 * _MARGIN, picture.height + 2 * _MARGIN
    figure = Figure((width / _INCH, height / _INCH), dpi=_DOTS * _INCH, facecolor=LIGHT["paper"])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(-_MARGIN, width - _MARGIN), ylim=(height - _MARGIN, -_MARGIN))
    for layer, shape in enumerate(picture.shapes):
        _draw(axes, shape, layer)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", facecolor=LIGHT["paper"])


def _draw(axes: Any, shape: Line | Area | Mark | Words, layer: int) -> None:
    from matplotlib import lines, patches

    match shape:
        case Line():
            x, y = zip(*shape.points, strict=True)
            line = lines.Line2D(x, y, color=_colour(shape.ink), linewidth=shape.width * _POINTS, zorder=layer)
            line.set_linestyle((0, (5, 4)) if shape.dashed else "-")
            axes.add_line(line)
        case Area():
            place = (shape.x, shape.y), shape.width, shape.height
            axes.add_patch(patches.Rectangle(*place, color=_colour(shape.ink), linewidth=0, zorder=layer))
        case Mark():
            style: dict[str, Any] = {"color": _colour(shape.ink), "linewidth": 0, "zorder": layer}
            circle = shape.kind == CIRCLE
            centre = (shape.x, shape.y)
            patch = (
                patches.Circle(centre, shape.radius, **style) if circle else patches.Polygon(shape.corners(), **style)
            )
            axes.add_patch(patch)
        case Words():
            font = {"fontsize": shape.size * _POINTS, "fontweight": "bold" if shape.bold else "normal"}
            style = {"color": _colour(shape.ink), "ha": _ANCHORS[shape.anchor], "va": "baseline", "zorder": layer}
            text = shape.text.encode(errors="replace").decode()  # paths may hold what is no Unicode
            axes.text(shape.x, shape.y, text, parse_math=False, **font, **style)


def _colour(ink: str) -> str:
    return LIGHT.get(ink, ink)
