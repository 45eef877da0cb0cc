"""The closing table of a merge, from its metrics alone: one row per part of the model, and the total."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorafold.common.text import mean, number
from lorafold.pipelines._tables import Row, Table, by_part

Metrics = Mapping[str, Any]  # of a merge, of its summary, or of one module
SIDES = ("left", "right")
MAX_PARTS = 20
MAX_COLUMNS = 3  # adapters with a column of their own; of more, the range is shown

LEGEND = """
phi: overlap of subspaces, 0 orthogonal, 1 contained; before: of the adapters
     with each other, after: of the merged adapter with them, on average.
kept: share of each adapter's energy inside the merged subspaces.
error: squared distance to the weighted sum of the updates, relative.
"""


def merge_table(metrics: Metrics) -> Table:
    """Overlap before and after, what is kept of each adapter, error, and what converged."""
    phis = ("phi before\nleft right", "phi after\nleft right")
    headers = ("\npart", *phis, _kept_header(len(metrics["inputs"])), "\nerror", "converged\nof modules")
    parts = by_part(metrics["modules"], MAX_PARTS)
    rows = tuple((label, *_cells(modules)) for label, modules in parts.items())
    return Table(headers, rows, ("total", *total(metrics["summary"])))


def total(summary: Metrics) -> Row:
    """The cells of the whole adapter."""
    after = [mean(summary["phi"][side]) for side in SIDES]
    before = [summary["phi_inputs"][side] for side in SIDES]
    converged = f"{summary['converged']}/{summary['modules']}"
    error = number(summary["reconstruction_error"], 3)
    return _pair(before), _pair(after), kept_cell(summary["retained"]), error, converged


def kept_cell(shares: Sequence[float | None]) -> str:
    """Of each adapter, or from the least to the most."""
    if len(shares) <= MAX_COLUMNS:
        return _pair(shares)
    known = [share for share in shares if share is not None]
    return f"{min(known):.2f}-{max(known):.2f}" if known else "-"


def _cells(modules: Sequence[Metrics]) -> Row:
    """Means over the modules of a row."""
    before = [mean(module["phi_inputs"][side] for module in modules) for side in SIDES]
    after = [mean(value for module in modules for value in module[side]["phi"]) for side in SIDES]
    shares = [mean(column) for column in zip(*(module["retained"] for module in modules), strict=True)]
    error = mean(module["reconstruction_error"] for module in modules)
    converged = f"{sum(module['converged'] for module in modules)}/{len(modules)}"
    return _pair(before), _pair(after), kept_cell(shares), number(error, 3), converged


def _kept_header(count: int) -> str:
    if count > MAX_COLUMNS:
        return "kept\nrange"
    return "kept\n" + " ".join(f"#{position}".rjust(4) for position in range(1, count + 1))


def _pair(values: Iterable[float | None]) -> str:
    return " ".join(number(value, 2) for value in values)
