"""The page: figures drawn beforehand, and scripts that let the reader choose, sort and filter runs.

Names and settings come from strangers' files: the figures and the table of problems escape them, and for the scripts
see `report.self_contained`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from lorafold import pages
from lorafold.adapters.files.atomic import write_text
from lorafold.commands.report.page.files import NO_CHARTS
from lorafold.commands.report.page.inks import stylesheet
from lorafold.commands.report.page.payload import payload
from lorafold.commands.report.page.sections import Section, sections
from lorafold.commands.report.sweep import Problem, Sweep
from lorafold.commands.report.sweep.sweep import STATUSES
from lorafold.common.text import printable
from lorafold.pages.self_contained import self_contained

if TYPE_CHECKING:
    from lorafold.commands.report.page.drawing import Drawing

_HERE = Path(__file__).resolve().parent
_PAGES = Path(pages.__file__).resolve().parent
_SHARED = ("format", "dom", "colour", "order", "views")  # scripts of the page about overlap
_OWN = ("runs", "table", "chosen", "marks", "main")  # "main" starts them
_SHOWN = 200  # problems of a kind; of more, the number is told


def write_page(path: Path, sweep: Sweep, chosen: int | None, drawings: Mapping[str, Drawing]) -> None:
    """Write the page in one step: the file is there as a whole or not at all.

    Args:
        path: of the page.
        sweep: what it is about.
        chosen: the run that it begins with; None where there is none.
        drawings: the charts of its sections (see `draw`).
    """
    write_text(path, page(sweep, chosen, drawings))


def page(sweep: Sweep, chosen: int | None, drawings: Mapping[str, Drawing]) -> str:
    """The text of the page."""
    parts = sections(sweep)
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
        payload(sweep, parts, chosen),
        heading=_plural(len(sweep.runs), "finished run"),
        folder=_text(str(sweep.folder)),
        counts="".join(_count(status, count) for status, count in counts.items()),
        problems=_problems(sweep),
        links="".join(f'<a href="#{part.name}">{_text(part.link)}</a>' for part in parts),
        figures="\n".join(_section(part, drawings) for part in parts),
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
    problems = [problem for problem in sweep.problems if problem.status == status]
    names = sweep.named([problem.folder for problem in problems])
    yield from (_row(problem, name) for problem, name in zip(problems[:_SHOWN], names, strict=False))
    if len(problems) > _SHOWN:
        yield f'<tr><td>{status}</td><td colspan="3">and {len(problems) - _SHOWN:,} more: see report.csv</td></tr>'


def _row(problem: Problem, name: str) -> str:
    cells = "".join(f"<td>{_text(text)}</td>" for text in (name, problem.asked, problem.reason))
    return f'<tr><td class="status">{problem.status}</td>{cells}</tr>'


def _section(section: Section, drawings: Mapping[str, Drawing]) -> str:
    if not section.charts:
        body = f'<p class="missing">{_text(section.nothing)}</p>'
    elif section.name in drawings:
        body = f'<figure class="charts">{drawings[section.name].in_page()}</figure>'
    else:
        body = f'<p class="missing">{_text(NO_CHARTS)}</p>'
    return (
        f'<section id="{section.name}" aria-labelledby="{section.name}-title"><h2 id="{section.name}-title">'
        f'{_text(section.title)}</h2><p class="how">{_text(section.how)}</p>{body}</section>'
    )


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _text(text: str) -> str:
    return escape(printable(text))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
