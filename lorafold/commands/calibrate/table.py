"""The closing table of a calibration, from its metrics alone (the content of `metrics.json`). Plain ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from lorafold.common.text import amount
from lorafold.console.tables import Console, plain_table, relative_to_cwd, say

Metrics = Mapping[str, Any]  # of a run, or of one adapter
_LEGEND = (
    "layers: with statistics, of all that the adapter changes; tokens: what counted of the inputs in the layer that "
    "read most; of adapter: the file's size in that of the adapter's factors."
)


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print a row for each adapter, which is which, and where its file is."""
    console = console or Console(highlight=False)
    say(console, _title(metrics), "bold")
    console.print(_table(metrics))
    say(console, _LEGEND, "dim")
    for number, (adapter, output) in enumerate(zip(metrics["inputs"], metrics["outputs"], strict=True), 1):
        say(console, f"#{number}: {relative_to_cwd(str(adapter['path']))} -> {relative_to_cwd(output['path'])}")


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: the adapters in words."""
    parts = (f"{_layers(entry)} layers from {entry['inputs']} inputs" for entry in metrics["adapters"])
    return f"{'; '.join(parts)}; {_seconds(metrics)}"


def _title(metrics: Metrics) -> str:
    config = metrics["config"]
    count = len(metrics["adapters"])
    adapters = f"{count} adapter{'s' if count > 1 else ''}"
    return f"{adapters} in {relative_to_cwd(config['base'])}, {config['directions']} directions, {_seconds(metrics)}"


def _table(metrics: Metrics) -> Table:
    table = plain_table("adapter", "layers", "inputs", "tokens", "seconds", "file", "of adapter")
    for number, (entry, output) in enumerate(zip(metrics["adapters"], metrics["outputs"], strict=True), 1):
        share = f"{100 * output['bytes'] / entry['adapter_bytes']:.3g} %"
        cells = (_layers(entry), str(entry["inputs"]), amount(entry["tokens"]), f"{entry['seconds']:.1f}")
        table.add_row(f"#{number}", *cells, f"{amount(output['bytes'])}B", share)
    return table


def _layers(entry: Metrics) -> str:
    return f"{entry['layers']}/{entry['modules']}"


def _seconds(metrics: Metrics) -> str:
    return f"{metrics['summary']['seconds']['total']:.1f} s"
