"""The figures of a sweep as files: SVG, and PNG where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path

from lorafold.adapters.files.atomic import write_text
from lorafold.commands.report.page.figures import figures
from lorafold.commands.report.page.heat import heat_picture
from lorafold.commands.report.sweep import Sweep
from lorafold.pages.drawing import Picture, svg_file
from lorafold.pages.drawing.png import png_available, write_png


def write_figures(folder: Path, sweep: Sweep, chosen: int | None) -> list[Path]:
    """Write every figure that has something to show.

    Args:
        folder: for the files; it is made.
        chosen: the run of the heat map.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, picture in _pictures(sweep, chosen).items() for path in _write(folder, name, picture)]


def _pictures(sweep: Sweep, chosen: int | None) -> dict[str, Picture]:
    drawn = {figure.name: figure.picture() for figure in figures(sweep) if figure.charts}
    if chosen is not None and sweep.runs[chosen].blocks:
        drawn["parts"] = heat_picture(sweep, chosen)
    return drawn


def _write(folder: Path, name: str, picture: Picture) -> list[Path]:
    paths = [folder / f"{name}.svg"]
    write_text(paths[0], svg_file(picture))
    if png_available():
        paths.append(folder / f"{name}.png")
        write_png(paths[1], picture)
    return paths
