"""The charts of a sweep, and their files; the library that draws them is an extra."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lorafold.adapters.files.atomic import staged, write_text
from lorafold.commands.report.page.sections import sections
from lorafold.commands.report.sweep import Sweep

if TYPE_CHECKING:
    from lorafold.commands.report.page.drawing import Drawing

NO_CHARTS = "no charts without matplotlib: pip install 'lorafold[report]'"


def charts_available() -> bool:
    """Whether matplotlib is installed; `draw` imports it."""
    return find_spec("matplotlib") is not None


def draw(sweep: Sweep, chosen: int | None) -> dict[str, Drawing]:
    """Every figure that has something to show, by name; none without matplotlib.

    Args:
        sweep: what is drawn.
        chosen: the run whose parts are drawn.
    """
    if not charts_available():
        return {}
    from lorafold.commands.report.page.drawing import draw_parts, draw_section

    drawings = {section.name: draw_section(section) for section in sections(sweep) if section.charts}
    if chosen is not None and sweep.runs[chosen].blocks:
        drawings["parts"] = draw_parts(sweep, chosen)
    return drawings


def write_figures(folder: Path, drawings: Mapping[str, Drawing]) -> None:
    """Write every figure as SVG and as PNG, into a folder that is made if there is a figure."""
    for name, drawing in drawings.items():
        write_text(folder / f"{name}.svg", drawing.svg())
        with staged(folder / f"{name}.png") as scratch:
            scratch.write_bytes(drawing.png())
