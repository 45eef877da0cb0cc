"""The closing table of an extraction, from its metrics alone (the content of `metrics.json`), 80 columns wide.

Plain ASCII.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum, sqrt
from typing import Any

from lorafold.console.tables import Console, amount, percent, relative_to_cwd, say, span, table_of_parts

Metrics = Mapping[str, Any]  # of a run or of one module
_HEADS = ("part", "layers", "rank", "mean", "norm", "kept", "rounding")

_LEGEND = "kept: of the difference's squared singular values; rounding: what files add to them."
_LEFT_OUT = {
    "selection": "by layers= and exclude=",
    "rounding": "differ by the rounding of the files alone",
    "biases": "biases and norms changed (biases=true takes them)",
    "embeddings": "embeddings or last layers changed (embeddings=true takes them)",
    "unnamed": "changed, but adapters of this format have no place for them",
    "other": "tensors changed that belong to no layer",
    "alone": "are in one of the two models only",
}


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print the table, what was left out, how good the factors are, and which model became which adapter."""
    console = console or Console(highlight=False)
    say(console, _title(metrics), "bold")
    console.print(table_of_parts(_HEADS, metrics["modules"], _cells))
    for line in _notes(metrics):
        say(console, line, "dim")
    paths = (relative_to_cwd(str(metrics["inputs"][0]["path"])), relative_to_cwd(metrics["output"]["path"]))
    say(console, " -> ".join(paths))


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: its total row in words."""
    summary = metrics["summary"]
    ranks, kept = span(summary["ranks"]), percent(summary["retained"])
    return f"{summary['modules']} layers, rank {ranks}, {_parameters(metrics)}, kept {kept}, {_time(metrics)}"


def _title(metrics: Metrics) -> str:
    config, summary = metrics["config"], metrics["summary"]
    asked = [f"{key}={config[key]}" for key in ("energy", "budget", "rank") if config[key] is not None]
    layers = f"{summary['modules']} layers changed"
    return ", ".join((layers, *asked, _parameters(metrics), _time(metrics)))


def _parameters(metrics: Metrics) -> str:
    return f"{amount(metrics['summary']['parameters'])} parameters"


def _time(metrics: Metrics) -> str:
    return f"{metrics['summary']['seconds']['total']:.1f} s"


def _cells(modules: Sequence[Metrics]) -> tuple[str, ...]:
    """The cells of several layers, taken as one matrix."""
    ranks = [module["rank"] for module in modules]
    energies = [module["norm"] ** 2 for module in modules]
    shares = (
        fsum(module[key] * energy for module, energy in zip(modules, energies, strict=True)) / fsum(energies)
        for key in ("retained", "rounding")
    )
    norm = f"{sqrt(fsum(energies)):.3g}"
    return str(len(modules)), span(ranks), f"{sum(ranks) / len(ranks):.1f}", norm, *map(percent, shares)


def _notes(metrics: Metrics) -> Iterator[str]:
    summary = metrics["summary"]
    yield _LEGEND
    if summary["error"] is not None:
        bound = f", at most {percent(summary['excess'])} over the least possible" if summary["excess"] else ""
        yield f"The factors as written miss {percent(sqrt(summary['error']))} of the norm{bound}."
    if summary["whole"]:
        yield f"{summary['whole']} biases and norms beside them."
    for reason, names in summary["left_out"].items():
        yield f"left out: {len(names)} {_LEFT_OUT[reason]}"
