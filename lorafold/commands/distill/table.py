"""The closing table of a distillation, from its metrics alone (the content of `metrics.json`), 80 columns wide.

Plain ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from lorafold.common.text import short_names
from lorafold.console.tables import Console, plain_table, printable, relative_to_cwd, say, span

Metrics = Mapping[str, Any]

_LEGEND = (
    "before, after: E|h - h_i|^2 / E|h_base - h_i|^2 on the inputs held back,",
    "0 with the adapter alone, 1 without adapters.",
)
_KEPT = "The inputs held back came out no better: the adapter is the start, a merge of the adapters."
_WORSE = "Further away than the start was: {}. The mean over the adapters decides what is kept."


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print the table, what it means, and where the adapter is."""
    console = console or Console(highlight=False)
    say(console, _title(metrics), "bold")
    console.print(_table(metrics))
    for line in _LEGEND:
        say(console, line, "dim")
    if warning := what_got_worse(metrics):
        say(console, warning, "yellow")
    say(console, f"merged adapter: {relative_to_cwd(metrics['output']['path'])}")


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: its total row in words."""
    summary = metrics["summary"]
    kept = ", start kept" if summary["kept"] == "start" else ""
    return (
        f"rank {span(summary['ranks'])}, loss {summary['before']:.3f} -> {summary['after']:.3f}{kept}, {_time(metrics)}"
    )


def what_got_worse(metrics: Metrics) -> str:
    """What must be said where nothing was learnt, or where what was learnt is not nearer to each adapter."""
    if metrics["summary"]["kept"] == "start":
        return _KEPT
    inputs = metrics["inputs"]
    names = short_names([entry["path"] for entry in inputs])
    worse = [name for name, entry in zip(names, inputs, strict=True) if entry["after"] > entry["before"]]
    return _WORSE.format(printable(", ".join(worse), 200)) if worse else ""


def _title(metrics: Metrics) -> str:
    config, summary = metrics["config"], metrics["summary"]
    return ", ".join(
        (
            f"{summary['modules']} modules",
            f"rank {span(summary['ranks'])}",
            config["manifold"],
            f"{summary['steps']} steps",
            _time(metrics),
        )
    )


def _time(metrics: Metrics) -> str:
    return f"{metrics['summary']['seconds']['total']:.1f} s"


def _table(metrics: Metrics) -> Table:
    table = plain_table("adapter", "learnt from", "held back", "before", "after")
    inputs, summary = metrics["inputs"], metrics["summary"]
    for name, entry in zip(short_names([entry["path"] for entry in inputs]), inputs, strict=True):
        counts = (str(entry["seen"]), str(entry["held_back"]))
        table.add_row(printable(name, 40), *counts, f"{entry['before']:.3f}", f"{entry['after']:.3f}")
    table.add_section()
    table.add_row("mean", "", "", f"{summary['before']:.3f}", f"{summary['after']:.3f}", style="bold")
    return table
