"""The closing table of a comparison, from its metrics alone (the content of `metrics.json`), 80 columns wide.

Of two adapters, a row for each part of the model, then the reading; of more, a row for each pair. Plain ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorafold.console.tables import Console, drawn, relative_to_cwd, say, span
from lorafold.pipelines.compare.table import MAX_PAIRS, compare_table, explanation, name_of, phis

Metrics = Mapping[str, Any]  # of a run, of its summary, of a pair or of one module


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print the table, which adapter is which, the reading, and where the page is."""
    console = console or Console(highlight=False)
    pairs = metrics["summary"]["pairs"]
    say(console, _title(metrics), "bold")
    console.print(drawn(compare_table(metrics)))
    for number, adapter in enumerate(metrics["inputs"], 1):
        say(console, f"#{number}: {relative_to_cwd(str(adapter['path']))} (rank {span(adapter['ranks'])})")
    for line in explanation(metrics["summary"]):
        console.print(line, markup=False)
    if len(pairs) > MAX_PAIRS:
        console.print(f"... and {len(pairs) - MAX_PAIRS} more pairs in metrics.json")
    if page := metrics.get("page"):
        say(console, f"page: {relative_to_cwd(page)}")


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: its pairs in words."""
    pairs = metrics["summary"]["pairs"]
    words = (f"{name_of(pair)} phi {', '.join(phis(pair))}, {pair['verdict']}" for pair in pairs)
    return f"{'; '.join(words)}; {_seconds(metrics)}"


def _title(metrics: Metrics) -> str:
    return f"{metrics['summary']['modules']} modules of {len(metrics['inputs'])} adapters, {_seconds(metrics)}"


def _seconds(metrics: Metrics) -> str:
    return f"{metrics['summary']['seconds']['total']:.1f} s"
