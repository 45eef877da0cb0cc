"""Pictures as SVG: a file of its own, or an element inside a page whose style sheet knows the inks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape

from lorafold.pages.drawing.inks import LIGHT
from lorafold.pages.drawing.shapes import CIRCLE, Area, Line, Mark, Picture, Shape, Words

_FONT = "ui-sans-serif, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"
_MARGIN = 16

Paint = Callable[[str, str], str]  # ("fill" or "stroke", ink) -> attributes


def svg_file(picture: Picture) -> str:
    """A file that needs no other, on white paper with a margin."""
    width, height = picture.width + 2 * _MARGIN, picture.height + 2 * _MARGIN
    box = f"{-_MARGIN} {-_MARGIN} {_number(width)} {_number(height)}"
    paper = Area(-_MARGIN, -_MARGIN, width, height, "paper")
    body = "\n".join(_element(shape, _by_value) for shape in (paper, *picture.shapes))
    size = f'width="{_number(width)}" height="{_number(height)}"'
    label = f"<title>{escape(clean(picture.label))}</title>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {size} font-family="{_FONT}">'
    return f"{head}\n{label}\n{body}\n</svg>\n"


def inline_svg(picture: Picture, *, css_class: str = "") -> str:
    """An element of a page; inks are classes of its style sheet (`inks.stylesheet`)."""
    box = f"0 0 {_number(picture.width)} {_number(picture.height)}"
    size = f'width="{_number(picture.width)}" height="{_number(picture.height)}"'
    body = "".join(_element(shape, _by_class) for shape in picture.shapes)
    label = escape(clean(picture.label))
    return f'<svg class="{css_class}" viewBox="{box}" {size} role="img" aria-label="{label}">{body}</svg>'


def clean(text: str) -> str:
    """Without what XML forbids, and without what cannot be seen: line ends and marks that turn text around."""
    return "".join(character if character.isprintable() else " " for character in text)


def _by_value(attribute: str, ink: str) -> str:
    return f'{attribute}="{LIGHT.get(ink, ink)}"'


def _by_class(attribute: str, ink: str) -> str:
    return f'class="{attribute}-{ink}"' if ink in LIGHT else f'{attribute}="{ink}"'


def _element(shape: Shape, paint: Paint) -> str:
    match shape:
        case Line():
            return _line(shape, paint)
        case Area():
            place = f'x="{_number(shape.x)}" y="{_number(shape.y)}"'
            size = f'width="{_number(shape.width)}" height="{_number(shape.height)}"'
            return f"<rect {place} {size} {paint('fill', shape.ink)}/>"
        case Mark():
            return _mark(shape, partial(paint, "fill"))
        case Words():
            return _words(shape, paint)


def _line(line: Line, paint: Paint) -> str:
    dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
    style = f'fill="none" stroke-width="{_number(line.width)}" stroke-linejoin="round"{dashes}'
    return f'<polyline points="{_points(line.points)}" {style} {paint("stroke", line.ink)}/>'


def _mark(mark: Mark, fill: Callable[[str], str]) -> str:
    ink = fill(mark.ink)
    if mark.kind == CIRCLE:
        drawn = f'<circle cx="{_number(mark.x)}" cy="{_number(mark.y)}" r="{_number(mark.radius)}" {ink}/>'
    else:
        drawn = f'<polygon points="{_points(mark.corners())}" {ink}/>'
    if mark.run is None:
        return drawn
    return f'<g class="run" data-run="{mark.run}">{drawn}<title>{escape(clean(mark.title))}</title></g>'


def _words(words: Words, paint: Paint) -> str:
    weight = ' font-weight="600"' if words.bold else ""
    place = f'x="{_number(words.x)}" y="{_number(words.y)}" font-size="{_number(words.size)}"'
    return (
        f'<text {place} text-anchor="{words.anchor}"{weight} {paint("fill", words.ink)}>'
        f"{escape(clean(words.text))}</text>"
    )


def _points(points: tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
