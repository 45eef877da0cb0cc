"""The closing table of fusing, from its metrics alone (the content of `metrics.json`), 80 columns wide. Plain ASCII."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lorafold.console.tables import Console, percent, relative_to_cwd, say, table_of_parts

Metrics = Mapping[str, Any]  # of a run or of one tensor
_HEADS = ("part", "tensors", "change at most", "rounding at most")
# Of the update's norm: from here on what rounding does is worth a word.
_MUCH = 0.1

_LEGEND = "change: the update, of the weights' norm; rounding: its error, of the update's norm."
_HINT = "Rounding takes much of the update: rounding=stochastic keeps it on average."


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print the table, what rounding did, and which model became which."""
    console = console or Console(highlight=False)
    say(console, one_line(metrics), "bold")
    console.print(table_of_parts(_HEADS, metrics["modules"], _cells))
    say(console, _LEGEND, "dim")
    if (metrics["summary"]["rounding"] or 0) > _MUCH and metrics["config"]["rounding"] == "nearest":
        say(console, _HINT)
    paths = (relative_to_cwd(str(metrics["base"]["path"])), relative_to_cwd(metrics["output"]["path"]))
    say(console, " -> ".join(paths))


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: how much changed."""
    summary = metrics["summary"]
    counts = f"{summary['changed']} of {summary['tensors']} tensors changed"
    shares = f"by {percent(summary['change'])}, rounding {percent(summary['rounding'])} of that"
    return f"{counts} {shares}, {summary['seconds']['total']:.1f} s"


def _cells(tensors: Sequence[Metrics]) -> tuple[str, ...]:
    return str(len(tensors)), _most(tensors, "change"), _most(tensors, "rounding")


def _most(tensors: Sequence[Metrics], key: str) -> str:
    return percent(max((tensor[key] for tensor in tensors if tensor[key] is not None), default=None))
