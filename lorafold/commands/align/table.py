"""The closing table of an alignment, from its metrics alone (the content of `metrics.json`), 80 columns wide.

Of two adapters, a row for each part of the model; of more, a row for each pair. Plain ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, sqrt
from typing import Any

from rich import box
from rich.table import Table

from lorafold.adapters.naming.model_parts import group_of, labels
from lorafold.console.tables import Console, relative_to_cwd, say

Metrics = Mapping[str, Any]  # of a run, of a pair or of one module
MAX_ROWS = 5  # parts of the model, or pairs
MAX_PATHS = 4

_GAUGE = """Relative error of averaging up and down factors of #1 with those of the other
one instead of updates: with its file, and with aligned_2, ..."""
_SUBSPACE = "distance: ||dW - dW_1|| / ||dW_1||. Subspaces, and with them phi, stay;"


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print the table, what changed and what did not, what did not converge, and what became which file."""
    console = console or Console(highlight=False)
    say(console, _title(metrics), "bold")
    console.print(_table(metrics))
    for line in _legend(metrics):
        say(console, line, "dim")
    if warning := not_converged(metrics):
        say(console, warning, "yellow")
    both = list(zip(metrics["inputs"], metrics["outputs"], strict=True))
    for number, (adapter, output) in enumerate(both[:MAX_PATHS], 1):
        line = (
            f"#{number}: {relative_to_cwd(str(adapter['path']))} {_fate(number, str(adapter['path']), output['path'])}"
        )
        say(console, line)
    if len(both) > MAX_PATHS:
        console.print(f"... and {len(both) - MAX_PATHS} more in metrics.json")


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: its pairs in words."""
    key, what = ("averaging_error", "averaging error") if _is_gauge(metrics) else ("distance", "distance")
    words = (
        f"{_name(pair)} {what} {' -> '.join(map(_number, pair[key].values()))}" for pair in metrics["summary"]["pairs"]
    )
    return f"{'; '.join(words)}; {_seconds(metrics)}"


def not_converged(metrics: Metrics) -> str:
    """How many modules the iteration left unfinished; empty when none."""
    pairs = metrics["summary"]["pairs"] if _is_gauge(metrics) else []
    left = sum(pair["modules"] - pair["converged"] for pair in pairs)
    if not left:
        return ""
    worst = max(pair["gradient"] for pair in pairs if pair["gradient"] is not None)
    return f"not converged: {left} of {sum(p['modules'] for p in pairs)} modules, relative gradient up to {worst:.0e}"


def _is_gauge(metrics: Metrics) -> bool:
    return bool(metrics["config"]["mode"] == "gauge")


def _title(metrics: Metrics) -> str:
    config, summary = metrics["config"], metrics["summary"]
    mode = f"gauge of the {config['group']} group" if _is_gauge(metrics) else "mode subspace"
    return f"{summary['modules']} modules of {len(metrics['inputs'])} adapters, {mode}, {_seconds(metrics)}"


def _seconds(metrics: Metrics) -> str:
    return f"{metrics['summary']['seconds']['total']:.1f} s"


def _table(metrics: Metrics) -> Table:
    pairs = metrics["summary"]["pairs"]
    key = "averaging_error" if _is_gauge(metrics) else "distance"
    result = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    result.add_column("part" if len(pairs) == 1 else "pair")
    for header in pairs[0][key] if _is_gauge(metrics) else ("phi left", "phi right", "distance before", "after"):
        result.add_column(header, justify="right")
    if len(pairs) == 1:
        for label, members in _parts(metrics).items():
            result.add_row(label, *_phis(members), *(_number(_pooled(members, key, stage)) for stage in pairs[0][key]))
        result.add_section()
    for pair in pairs[:MAX_ROWS]:
        label, style = ("total", "bold") if len(pairs) == 1 else (_name(pair), None)
        result.add_row(label, *_phis([pair]), *map(_number, pair[key].values()), style=style)
    return result


def _parts(metrics: Metrics) -> dict[str, list[Metrics]]:
    """What is known of the one pair, by part of the model."""
    groups = [group_of(module["name"]) for module in metrics["modules"]]
    names = labels(groups, MAX_ROWS)
    rows: dict[str, list[Metrics]] = {label: [] for label in names.values()}
    for group, module in zip(groups, metrics["modules"], strict=True):
        rows[names[group]] += module["pairs"]
    return rows


def _pooled(pairs: Sequence[Metrics], key: str, stage: str) -> float | None:
    """The value for several modules as one matrix."""
    size = fsum(pair["norm"] ** 2 for pair in pairs)
    return sqrt(fsum(((pair[key].get(stage) or 0) * pair["norm"]) ** 2 for pair in pairs) / size) if size else None


def _phis(pairs: Sequence[Metrics]) -> list[str]:
    if not all("phi" in pair for pair in pairs):
        return []
    phis = [[p["phi"][side] for p in pairs if p["phi"][side] is not None] for side in ("left", "right")]
    return [_number(fsum(values) / len(values) if values else None) for values in phis]


def _legend(metrics: Metrics) -> list[str]:
    changes = metrics["summary"]["change"]
    if _is_gauge(metrics):
        measured = [change for change in changes if change is not None]
        same = (
            f"The updates are the same: they changed by {max(measured):.0e} of themselves at most." if measured else ""
        )
        return [_GAUGE, same, *_iteration(metrics)]
    shares = [f"#{i} by {100 * change:.1f} %" for i, change in enumerate(changes[1:], 2) if change is not None]
    return [_SUBSPACE, f"the updates changed: {', '.join(shares[:MAX_PATHS])} of themselves."]


def _iteration(metrics: Metrics) -> list[str]:
    """How the general gauge was found; the orthogonal one has a closed form."""
    optimised = [pair for pair in metrics["summary"]["pairs"] if pair["steps"] is not None]
    if metrics["config"]["group"] != "general" or not optimised:
        return []
    counts = [sum(pair[key] for pair in optimised) for key in ("converged", "modules")]
    steps, condition = (max(pair[key] for pair in optimised) for key in ("steps", "condition"))
    return [f"{counts[0]}/{counts[1]} modules converged, in {steps} steps or fewer; condition of G <= {condition:.3g}."]


def _fate(number: int, read: str, written: str) -> str:
    if written == read:
        return "stays as it is"
    return f"-> {relative_to_cwd(written)}{' (the same factors, zero-padded)' if number == 1 else ''}"


def _name(pair: Metrics) -> str:
    return " ".join(f"#{number + 1}" for number in pair["pair"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
