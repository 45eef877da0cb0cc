"""What an inspection tells, from its metrics alone: lines, and a table with a row per part of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum, sqrt
from typing import Any

from lorafold.common.text import amount, printable, span
from lorafold.pipelines._tables import Row, Table, by_part

Metrics = Mapping[str, Any]  # of one adapter or of one module
MAX_PARTS = 12
MAX_TAGS = 8
WIDTH = 79
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


def contents(adapter: Metrics) -> str:
    """How much of what is in it."""
    summary = adapter["summary"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary["kinds"].items())
    size = "" if adapter["bytes"] is None else f", {amount(adapter['bytes'])}B"
    other = f", {summary['other_tensors']} other tensors" if summary["other_tensors"] else ""
    return (
        f"{summary['modules']} modules ({kinds}), rank {span(summary['ranks'])}, alpha {span(summary['alphas'])}, "
        f"{'/'.join(summary['dtypes'])}, {amount(summary['parameters'])} parameters{size}{other}"
    )


def words(adapter: Metrics) -> Iterator[str]:
    """What the file says of itself, shortened to a line each."""
    metadata = adapter["metadata"]
    entries = {
        "title": metadata.get("modelspec.title") or metadata.get("ss_output_name"),
        "trained on": metadata.get("ss_sd_model_name"),
        "trigger words": adapter["trigger_phrase"],
        "frequent tags": ", ".join(f"{tag} {count}" for tag, count in adapter["tags"][:MAX_TAGS]),
        "merged from": metadata.get("modelspec.merged_from"),
    }
    yield from (printable(f"{name}: {text}", WIDTH) for name, text in entries.items() if text)


def _cells(modules: Sequence[Metrics], whole: float) -> Row:
    spans = (span(module[key] for module in modules) for key in ("rank", "alpha", "used", "rank_95"))
    norm = _norm(modules)
    share = f"{100 * (norm / whole) ** 2:.1f} %" if whole else "-"
    return str(len(modules)), *spans, f"{norm:.3g}", share


def _norm(modules: Sequence[Metrics]) -> float:
    """The norm of several modules as one matrix, without those that are not finite."""
    return sqrt(fsum((module["norm"] or 0) ** 2 for module in modules))
