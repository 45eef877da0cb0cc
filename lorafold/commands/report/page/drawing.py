"""The charts of a sweep by matplotlib: as SVG, inside the page and as files, and as PNG.

Only `lorafold report` imports this, and only where matplotlib is installed.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from math import ceil, log
from typing import Any, NamedTuple

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from lorafold.commands.report.page.chart import Chart
from lorafold.commands.report.page.encoding import LegendEntry, described
from lorafold.commands.report.page.inks import LIGHT, MAKO
from lorafold.commands.report.page.parts import columns
from lorafold.commands.report.page.sections import Section
from lorafold.commands.report.page.svg import Titles, file_of_its_own, part_of_page
from lorafold.commands.report.sweep import Sweep
from lorafold.common.text import amount, printable

INCH = 72  # so many pixels of SVG; all lengths are in pixels
_CHARACTER = 7.5  # about the width of one
_TICK = 48  # room for the text of a tick
_LONGEST = 44  # characters of a text in a legend
_MARK = 9.0
_SIZES = {"o": 1.0, "s": 0.9, "D": 0.85, "^": 1.1, "v": 1.1}  # so that all look equally large
_SMALLER = 0.62  # for every mark that lies under a mark, up to
_LAYERS = 2  # of them: of a still smaller mark, the border alone would be seen


class Look(NamedTuple):
    """How a mark looks: `layer` counts the marks below it."""

    layer: int
    colour: str
    mark: str


_STYLE: Any = {
    "axes.edgecolor": LIGHT["rule"],
    "axes.labelcolor": LIGHT["soft"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": LIGHT["soft"],
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.dpi": INCH,
    "font.size": 12,
    "grid.color": LIGHT["rule"],
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # names may have a $ in them
    "xtick.bottom": False,
    "xtick.color": LIGHT["soft"],
    "xtick.labelsize": 11.5,
    "ytick.color": LIGHT["soft"],
    "ytick.labelsize": 11.5,
    "ytick.left": False,
}


@dataclass(frozen=True)
class Drawing:
    """A figure in its layouts.

    Args:
        name: its own among all figures of a page.
        label: what it shows, in words.
        layouts: "wide", and for a page "narrow".
        titles: for each chart, what the mark of a run says when pointed at.
    """

    name: str
    label: str
    layouts: Mapping[str, Figure]
    titles: Titles

    def in_page(self) -> str:
        """All layouts as SVG elements, in the colours of the page; its style sheet shows the one that fits."""
        return "".join(part_of_page(svg, self.label, self.titles, layout) for layout, svg in self._svgs.items())

    def svg(self) -> str:
        """As an SVG file, on white paper."""
        return file_of_its_own(self._svgs["wide"], self.label, self.titles)

    def png(self) -> bytes:
        """As a PNG file, on white paper, with two dots for each pixel."""
        options = {"format": "png", "dpi": 2 * INCH, "facecolor": LIGHT["paper"], "metadata": {"Software": None}}
        return self._saved("wide", **options)

    @cached_property  # a page and a file both take the wide one
    def _svgs(self) -> dict[str, bytes]:
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        return {layout: self._saved(layout, format="svg", metadata=metadata) for layout in self.layouts}

    def _saved(self, layout: str, **options: Any) -> bytes:
        file = BytesIO()
        with _style(f"{self.name} {layout}"):
            self.layouts[layout].savefig(file, **options)
        return file.getvalue()


def draw_section(section: Section) -> Drawing:
    """The charts of a section with their legend: side by side, and one below the other. There must be a chart."""
    count = len(section.charts)
    across = count if count <= 3 else 2
    with _style():
        layouts = {
            "wide": _figure_of(section.charts, across, min(600, 1200 / across)),
            "narrow": _figure_of(section.charts, 1, 360),
        }
    labels = [f"{chart.labels[1]} against {chart.labels[0]}, {len(chart.points)} runs" for chart in section.charts]
    return Drawing(section.name, "; ".join(labels), layouts, [chart.title for chart in section.charts])


def _figure_of(charts: Sequence[Chart], across: int, width: float) -> Figure:
    """So many charts of that width in a row."""
    legend = _legend_rows(charts[0].encoding.legend(), width * across)
    rows = ceil(len(charts) / across)
    figure = _figure(width * across, min(340, 0.72 * width) * rows + 22 * len(legend))
    grid = figure.subplots(rows, across, squeeze=False).flat
    for number, (axes, chart) in enumerate(zip(grid, charts, strict=False)):
        _draw_chart(axes, chart, width, f"runs {number}")
    for axes in grid[len(charts) :]:
        axes.set_axis_off()
    if legend:
        _draw_legend(figure, legend)
    return _laid_out(figure)


def draw_parts(sweep: Sweep, run: int) -> Drawing:
    """The parts of the model in one run: rows are the parts, columns their numbers, in the same colours from 0 to 1."""
    blocks, heads = sweep.runs[run].blocks, columns(len(sweep.runs[run].inputs))
    names = [f"{printable(block.label, 36)} ({block.modules})" for block in blocks]
    width = max(64 * len(heads) + _CHARACTER * max(map(len, names), default=0) + 40, 320)
    title = described(sweep, run)
    ramp = LinearSegmentedColormap.from_list("mako", MAKO[::-1])
    with _style():
        figure = _figure(width, 100 + 26 * len(names))
        axes = figure.add_subplot(xlim=(0, len(heads)), ylim=(len(names), 0))
        axes.set_title(printable(title, int(width / _CHARACTER)), color=LIGHT["ink"], weight="bold", pad=12)
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.tick_top()
        axes.tick_params(top=False)
        axes.set_xticks([place + 0.5 for place in range(len(heads))], [f"{head[0]}\n{head[1]}" for head in heads])
        axes.set_yticks([place + 0.5 for place in range(len(names))], names)
        for row, block in enumerate(blocks):
            for column, head in enumerate(heads):
                value = head.of(block.numbers)
                colour = LIGHT["rule"] if value is None else to_hex(ramp(value))
                axes.add_patch(Rectangle((column + 0.015, row + 0.04), 0.97, 0.92, color=colour, linewidth=0))
                if value is not None:
                    text: dict[str, Any] = {"color": _ink_on(colour), "ha": "center", "va": "center"}
                    axes.text(column + 0.5, row + 0.5, f"{value:.2f}", **text)
    return Drawing("parts", f"parts of the model, {title}", {"wide": _laid_out(figure)}, ())


@contextmanager
def _style(salt: str = "") -> Iterator[None]:
    """The look of all figures, whatever the user's matplotlibrc says; `salt` makes the ids of a figure its own."""
    with rc_context(), warnings.catch_warnings():
        rcdefaults()
        rcParams.update(_STYLE)
        rcParams["svg.hashsalt"] = salt
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # a browser has more fonts
        yield


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width / INCH, height / INCH), facecolor="none", layout="constrained")


def _laid_out(figure: Figure) -> Figure:
    """With everything in its place: once, and not again in every file."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    return figure


def _draw_chart(axes: Any, chart: Chart, width: float, gid: str) -> None:
    """The gid of a group of marks ends with the numbers of their runs: `svg.py` reads it."""
    axes.set(gid="chart", facecolor="none", axisbelow=True)
    axes.set_xlabel(printable(chart.labels[0], int(width / _CHARACTER)))
    axes.set_title(printable(chart.labels[1], int(width / _CHARACTER)))
    axes.grid(axis="y")
    axes.locator_params(axis="y", nbins=6)
    axes.locator_params(axis="x", nbins=max(2, int(width / 75)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_tick_text))
    axes.update_datalim(list(chart.points.values()))
    axes.autoscale_view()
    if chart.logarithmic:
        _set_logarithmic(axes, sorted({x for x, _ in chart.points.values()}), width)
    _draw_lines(axes, chart)
    for look, numbers in _marks(axes, chart).items():
        places = zip(*(chart.points[number] for number in numbers), strict=True)
        axes.plot(*places, gid=" ".join([gid, *map(str, numbers)]), zorder=3 + look.layer, **_mark_style(look))


def _set_logarithmic(axes: Any, values: Sequence[float], width: float) -> None:
    """A tick at every value that occurs, as far as there is room for its text."""
    low, high = values[0], values[-1]
    margin = (high / low) ** 0.06 if high > low else 1.5
    ticks = [low]
    for value in values:
        if log(value / ticks[-1]) * (width - 60) >= _TICK * log(high / low * margin**2):
            ticks.append(value)
    axes.set_xscale("log", subs=())
    axes.set_xlim(low / margin, high * margin)
    axes.xaxis.set_major_formatter(FuncFormatter(_tick_text))
    axes.set_xticks(ticks)


def _draw_lines(axes: Any, chart: Chart) -> None:
    """Through the runs of every series; and the border of what the runs on the front beat: a staircase, dashed."""
    runs = chart.encoding.sweep.runs
    for line in chart.lines:
        places = zip(*(chart.points[number] for number in line), strict=True)
        axes.plot(*places, gid="line", color=chart.encoding.colour(runs[line[0]]))
    if len(chart.front) > 1:
        places = zip(*(chart.points[number] for number in chart.front), strict=True)
        stairs = "steps-post" if chart.smallest_x else "steps-pre"
        axes.plot(*places, gid="front", color=LIGHT["other"], linestyle=(0, (4, 3)), drawstyle=stairs)


def _marks(axes: Any, chart: Chart) -> dict[Look, list[int]]:
    """The runs by the look of their marks, those below first: where runs agree, a mark on top of others is smaller."""
    to_share = axes.transScale + axes.transLimits
    places = to_share.transform(list(chart.points.values()))
    below: Counter[tuple[float, ...]] = Counter()
    groups: dict[Look, list[int]] = {}
    for number, place in zip(chart.points, places.round(2).tolist(), strict=True):
        run = chart.encoding.sweep.runs[number]
        layer = min(below[tuple(place)], _LAYERS)
        groups.setdefault(Look(layer, chart.encoding.colour(run), chart.encoding.mark(run)), []).append(number)
        below[tuple(place)] += 1
    return groups


def _mark_style(look: Look) -> dict[str, Any]:
    size = _MARK * _SIZES[look.mark] * _SMALLER**look.layer
    border = {"markeredgecolor": LIGHT["paper"], "markeredgewidth": 0.75}
    return {"linestyle": "none", "marker": look.mark, "color": look.colour, "markersize": size, **border}


def _tick_text(value: float, _: object = None) -> str:
    """Short enough for the margin: 275 k instead of 275000."""
    return f"{value + 0.0:.4g}" if abs(value) < 1e4 else f"{'-' if value < 0 else ''}{amount(abs(value))}"


def _legend_rows(entries: Sequence[Sequence[LegendEntry]], width: float) -> list[Sequence[LegendEntry]]:
    """As many entries in a row as the longest text leaves room for; each setting begins a row."""
    longest = max((len(text) for setting in entries for _, _, text in setting), default=0)
    across = max(1, int(width / (_CHARACTER * min(longest, _LONGEST) + 40)))
    return [setting[start : start + across] for setting in entries for start in range(0, len(setting), across)]


def _draw_legend(figure: Figure, rows: Sequence[Sequence[LegendEntry]]) -> None:
    """matplotlib fills a legend column by column."""
    across = max(map(len, rows))
    blank = (LIGHT["soft"], "", "")
    filled = [(*row, *[blank] * (across - len(row))) for row in rows]
    handles = [
        Line2D([], [], label=printable(text, _LONGEST), **(_mark_style(Look(0, colour, mark)) if mark else {"ls": ""}))
        for column in zip(*filled, strict=True)
        for colour, mark, text in column
    ]
    figure.legend(
        handles=handles,
        ncols=across,
        loc="outside lower left",
        labelcolor=LIGHT["soft"],
        handlelength=1,
        handletextpad=0.4,
        borderpad=0,
    )


def _ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast; they have the same where the luminance is 0.2."""
    red, green, blue = (channel**2.2 for channel in to_rgb(colour))
    return LIGHT["ink"] if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 else LIGHT["paper"]
