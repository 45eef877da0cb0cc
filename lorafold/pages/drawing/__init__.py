"""Charts out of lines, marks and words, drawn once and written as SVG, inside a page, or as PNG."""

from __future__ import annotations

from lorafold.pages.drawing.shapes import Area as Area
from lorafold.pages.drawing.shapes import Line as Line
from lorafold.pages.drawing.shapes import Mark as Mark
from lorafold.pages.drawing.shapes import Picture as Picture
from lorafold.pages.drawing.shapes import Words as Words
from lorafold.pages.drawing.shapes import side_by_side as side_by_side
from lorafold.pages.drawing.shapes import stacked as stacked
from lorafold.pages.drawing.svg import inline_svg as inline_svg
from lorafold.pages.drawing.svg import svg_file as svg_file

__all__ = ["Area", "Line", "Mark", "Picture", "Words", "inline_svg", "side_by_side", "stacked", "svg_file"]
