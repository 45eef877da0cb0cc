"""Markup of what is told on the page. Every word from a file is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lorafold.commands.ui.work import Answer
from lorafold.pipelines.inspect.table import LEGEND, contents, inspect_table, words

Metrics = Mapping[str, Any]

HEAD = """
<header><h1>Merge LoRA adapters</h1>
<p>Drop two or more files, see how they overlap, merge them. lorafold computes everything where it runs; what you drop
is removed when you close the page.</p></header>
"""


def refusal(message: str) -> str:
    """Why something was not done, in a line."""
    return f'<p class="refusal" role="alert">{escape(message)}</p>'


def line(text: str) -> str:
    """A line."""
    return f"<p>{escape(text)}</p>"


def adapters(entries: Sequence[Metrics], refused: Iterable[str]) -> str:
    """A card for each adapter, and what was refused."""
    return "".join([*map(refusal, refused), *(_card(number, entry) for number, entry in enumerate(entries, 1))])


def answer(given: Answer) -> str:
    """Sentences first, then warnings and the table."""
    first, *rest = given.words or [""]
    lines = [f'<p class="first">{escape(first)}</p>', *map(line, rest)]
    table = f"<details><summary>Table</summary>{given.table}</details>" if given.table else ""
    return f'<div class="answer" role="status">{"".join(lines)}{_warnings(given.warnings)}{table}</div>'


def frame(page: str, title: str) -> str:
    """The page in a frame of its own, which reaches neither this page nor its server."""
    if not page:
        return ""
    return f'<iframe title="{escape(title)}" sandbox="allow-scripts" srcdoc="{escape(page)}"></iframe>'


def _card(number: int, entry: Metrics) -> str:
    base = entry["base_model"]
    guess = f"{base['name']} (by {base['evidence']})" if base else "unknown base model"
    lines = (f"{entry['format']}, {guess}", contents(entry), *words(entry))
    table = inspect_table(entry["modules"]).html("", LEGEND.splitlines())
    return (
        f'<section class="card"><h3><span>{number}</span> <bdi>{escape(entry["path"])}</bdi></h3>'
        f"{''.join(map(line, lines))}{_warnings(entry['warnings'])}"
        f"<details><summary>Parts of the model</summary>{table}</details></section>"
    )


def _warnings(lines: Iterable[str]) -> str:
    return "".join(f'<p class="warning">{escape(line)}</p>' for line in lines)
