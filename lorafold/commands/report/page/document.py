"""The page: figures drawn beforehand, and scripts that let the reader choose, sort and filter runs.

Names and settings come from strangers' files: the figures and the table of problems escape them, and for the scripts
see `report.self_contained`.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from lorafold import pages
from lorafold.adapters.files.atomic import write_text
from lorafold.commands.report.page.figures import Figure, figures
from lorafold.commands.report.page.payload import payload
from lorafold.commands.report.sweep import Problem, Sweep
from lorafold.commands.report.sweep.sweep import STATUSES
from lorafold.pages.drawing import inline_svg
from lorafold.pages.drawing.inks import stylesheet
from lorafold.pages.drawing.svg import clean
from lorafold.pages.self_contained import self_contained

_HERE = Path(__file__).resolve().parent
_PAGES = Path(pages.__file__).resolve().parent
_SHARED = ("format", "dom", "colour", "order")  # scripts of the page about overlap
_OWN = ("runs", "table", "chosen", "marks", "main")  # "main" starts them
_WIDTHS = {"narrow": (320, 320), "wide": (600, 396)}  # pixels of a chart: of two in a row, of three
_SHOWN = 200  # problems of a kind; of more, the number is told


def write_page(path: Path, sweep: Sweep, chosen: int | None) -> None:
    """Write the page in one step: the file is there as a whole or not at all.

    Args:
        path: of the page.
        sweep: what it is about.
        chosen: the run that it begins with; None where there is none.
    """
    write_text(path, page(sweep, chosen))


def page(sweep: Sweep, chosen: int | None) -> str:
    """The text of the page."""
    drawn = figures(sweep)
    styles = [_read(_PAGES / "page.css"), _read(_PAGES / "figures.css"), _read(_HERE / "sweep.css"), stylesheet()]
    scripts = [_PAGES / "script" / f"{name}.js" for name in _SHARED]
    scripts += [_HERE / "script" / f"{name}.js" for name in _OWN]
    counts = {
        "finished": len(sweep.runs),
        **{status: sweep.count(status) for status in STATUSES},
    }
    return self_contained(
        _HERE / "sweep.html",
        styles,
        scripts,
        f"lorafold report: {len(sweep.runs)} runs",
        payload(sweep, drawn, chosen),
        heading=_plural(len(sweep.runs), "finished run"),
        folder=_text(str(sweep.folder)),
        counts="".join(_count(status, count) for status, count in counts.items()),
        problems=_problems(sweep),
        links="".join(f'<a href="#{figure.name}">{_text(figure.link)}</a>' for figure in drawn),
        figures="\n".join(map(_section, drawn)),
    )


def _count(status: str, count: int) -> str:
    kind = "" if status == "finished" or count == 0 else ' class="bad"'
    return f"<div{kind}><dt>{status}</dt><dd>{count:,}</dd></div>"


def _problems(sweep: Sweep) -> str:
    if not sweep.problems:
        return "<p>Nothing is missing that can be seen from here.</p>"
    rows = [row for status in STATUSES for row in _rows(sweep, status)]
    head = "<thead><tr><th>status</th><th>folder</th><th>settings</th><th>error</th></tr></thead>"
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs without a result">'
        f'<table class="problems">{head}<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _rows(sweep: Sweep, status: str) -> Iterable[str]:
    found = [problem for problem in sweep.problems if problem.status == status]
    names = sweep.named([problem.folder for problem in found])
    yield from (_row(problem, name) for problem, name in zip(found[:_SHOWN], names, strict=False))
    if len(found) > _SHOWN:
        yield f'<tr><td>{status}</td><td colspan="3">and {len(found) - _SHOWN:,} more: see report.csv</td></tr>'


def _row(problem: Problem, name: str) -> str:
    cells = "".join(f"<td>{_text(text)}</td>" for text in (name, problem.asked, problem.reason))
    return f'<tr><td class="status">{problem.status}</td>{cells}</tr>'


def _section(figure: Figure) -> str:
    if figure.charts:
        count = len(figure.charts)
        body = f'<div class="charts of-{min(count, 3)}">{"".join(_panels(figure))}</div>{_legend(figure)}'
    else:
        body = f'<p class="missing">{_text(figure.nothing)}</p>'
    return (
        f'<section id="{figure.name}" aria-labelledby="{figure.name}-title">'
        f'<h2 id="{figure.name}-title">{_text(figure.title)}</h2><p class="how">{_text(figure.how)}</p>{body}</section>'
    )


def _panels(figure: Figure) -> Iterable[str]:
    """Every chart twice: text keeps its size on narrow screens, and the style sheet shows one of the two."""
    for chart in figure.charts:
        drawn = (
            inline_svg(chart.picture(widths[len(figure.charts) == 3]), css_class=name)
            for name, widths in _WIDTHS.items()
        )
        yield f"<figure>{''.join(drawn)}</figure>"


def _legend(figure: Figure) -> str:
    encoding = figure.charts[0].encoding
    pictures = {"narrow": encoding.legend(320), "wide": encoding.legend(1200)}
    return "".join(inline_svg(drawn, css_class=f"key {name}") for name, drawn in pictures.items() if drawn.shapes)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _text(text: str) -> str:
    return escape(clean(text))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
