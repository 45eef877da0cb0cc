"""The table of an inspection, from its modules alone: one row per part of the model, and the total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, sqrt
from typing import Any

from lorafold.common.cells import span
from lorafold.pipelines._tables import Row, Table, by_part

Metrics = Mapping[str, Any]  # of one module
MAX_PARTS = 12
LEGEND = """
used: numerical rank of the update; 95 %: rank that holds 95 % of its energy,
the squared singular values; norm: ||dW||; share: of the adapter's energy
""".strip()


def inspect_table(modules: Sequence[Metrics]) -> Table:
    """Ranks, alphas, norms, and the share of each part in the adapter."""
    whole = _norm(modules)
    rows = tuple((label, *_cells(members, whole)) for label, members in by_part(modules, MAX_PARTS).items())
    headers = ("part", "modules", "rank", "alpha", "used", "95 %", "norm", "share")
    return Table(headers, rows, ("total", *_cells(modules, whole)))


def _cells(modules: Sequence[Metrics], whole: float) -> Row:
    spans = (span(module[key] for module in modules) for key in ("rank", "alpha", "used", "rank_95"))
    norm = _norm(modules)
    share = f"{100 * (norm / whole) ** 2:.1f} %" if whole else "-"
    return str(len(modules)), *spans, f"{norm:.3g}", share


def _norm(modules: Sequence[Metrics]) -> float:
    """Of several modules as one matrix; of those that are finite."""
    return sqrt(fsum((module["norm"] or 0) ** 2 for module in modules))
