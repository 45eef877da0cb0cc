"""The closing table of a change of rank, from its metrics alone (the content of `metrics.json`), 80 columns wide.

Plain ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, sqrt
from typing import Any

from lorafold.console.tables import Console, amount, relative_to_cwd, say, span, table_of_parts

Metrics = Mapping[str, Any]  # of a run or of one module
_HEADS = ("part", "modules", "rank before", "after", "mean", "parameters", "kept")

_LEGEND = "kept: share of the squared singular values; no update of that rank is closer."


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print the table, how far the new adapter is from the old one, and which file became which."""
    console = console or Console(highlight=False)
    say(console, _title(metrics), "bold")
    console.print(table_of_parts(_HEADS, metrics["modules"], _cells))
    say(console, _LEGEND, "dim")
    if (error := metrics["summary"]["error"]) is not None:
        line = f"The updates changed by {_percent(sqrt(error))} of their norm, rounding included."
        say(console, line, "dim")
    paths = (relative_to_cwd(str(metrics["inputs"][0]["path"])), relative_to_cwd(metrics["output"]["path"]))
    say(console, " -> ".join(paths))


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: its total row in words."""
    summary = metrics["summary"]
    return (
        f"rank {span(summary['ranks'])}, {_parameters(metrics)}, kept {_share(summary['retained'])}, {_time(metrics)}"
    )


def _title(metrics: Metrics) -> str:
    config = metrics["config"]
    asked = [f"{key}={config[key]}" for key in ("energy", "ratio", "parameters", "rank") if config[key] is not None]
    return ", ".join((f"{metrics['summary']['modules']} modules", *asked, _parameters(metrics), _time(metrics)))


def _parameters(metrics: Metrics) -> str:
    return f"{' -> '.join(map(amount, metrics['summary']['parameters']))} parameters"


def _time(metrics: Metrics) -> str:
    return f"{metrics['summary']['seconds']['total']:.1f} s"


def _cells(modules: Sequence[Metrics]) -> tuple[str, ...]:
    """The cells of several modules, taken as one matrix."""
    ranks, before = [module["rank"] for module in modules], [module["ranks"][0] for module in modules]
    sizes = [sum(module["shape"]) for module in modules]
    energies = [module["norm"] ** 2 for module in modules]
    kept = fsum((module["retained"] or 0) * energy for module, energy in zip(modules, energies, strict=True))
    parameters = sum(rank * size for rank, size in zip(ranks, sizes, strict=True))
    share = parameters / sum(rank * size for rank, size in zip(before, sizes, strict=True))
    mean = f"{sum(ranks) / len(ranks):.1f}"
    retained = kept / fsum(energies) if any(energies) else None
    return str(len(modules)), span(before), span(ranks), mean, _percent(share), _share(retained)


def _share(value: float | None) -> str:
    return "-" if value is None else _percent(value)


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
