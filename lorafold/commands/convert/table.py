"""What a conversion tells, from its metrics alone (the content of `metrics.json`). Plain ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorafold.console.tables import Console, relative_to_cwd, say

Metrics = Mapping[str, Any]  # of a run, or of one layer
EXAMPLES = {"renamed": 2, "split": 1, "fused": 1}  # layers to show of each kind


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print what became of the layers, with examples, and which file became which."""
    console = console or Console(highlight=False)
    say(console, one_line(metrics), "bold")
    for action, most in EXAMPLES.items():
        for entry in [entry for entry in metrics["modules"] if entry["action"] == action][:most]:
            line = f"{action}: {_names(entry['before'])} -> {_names(entry['after'])}"
            say(console, line)
    say(console, "Every update is what it was; only its names and factors changed.", "dim")
    paths = (relative_to_cwd(str(metrics["inputs"][0]["path"])), relative_to_cwd(metrics["output"]["path"]))
    say(console, " -> ".join(paths))


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: formats, and how many layers became what."""
    summary = metrics["summary"]
    before, after = summary["modules"]
    formats = f"{metrics['inputs'][0]['format']} -> {metrics['output']['format']}"
    actions = [f"{count} {action}" for action, count in summary["actions"].items() if count]
    return ", ".join((formats, f"{before} -> {after} modules", *actions, f"{summary['seconds']['total']:.1f} s"))


def _names(modules: list[Metrics]) -> str:
    return " + ".join(module["name"] for module in modules)
