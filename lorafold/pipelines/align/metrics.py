"""What an alignment measured, as plain JSON: one shape for tables and scripts.

b = modules, N = adapters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.common.peak_memory import peak_memory
from lorafold.common.text import brief
from lorafold.core_space import Layer
from lorafold.pipelines._metrics import Json, input_entry

STAGES = ("files", "orthogonal", "general")  # whose averaging error is measured, in this order


@dataclass(frozen=True)
class AlignedBatch:
    """Layers that were aligned together, row by row."""

    layers: Sequence[Layer]
    positions: Sequence[int]  # of the layers in the order of the first adapter
    energies: Tensor  # ‖ΔW_i‖² (b, N)
    moved: Tensor  # ‖ΔW_i' - ΔW_i‖² (b, N)
    measures: Sequence[Mapping[str, Tensor]]  # (b,) each, per further adapter

    __repr__ = brief


def align_metrics(
    inputs: Sequence[Adapter], batches: Sequence[AlignedBatch], mode: str, seconds: Mapping[str, float]
) -> Json:
    """Inputs, summary and one entry per module, in the order of the first adapter; null where nothing is defined.

    `change`: ‖ΔW_i' - ΔW_i‖ / ‖ΔW_i‖ per adapter, of the factors as written. In `pairs`, of the first adapter with
    each other one: after mode=gauge `averaging_error`, ‖((B_1+B_i)/2)((A_1+A_i)/2) - (ΔW_1+ΔW_i)/2‖ /
    ‖(ΔW_1+ΔW_i)/2‖, of the first adapter as it is with the other one's file, and rewritten over O(r) and GL(r);
    after mode=subspace `distance`, ‖ΔW_i - ΔW_1‖ / ‖ΔW_1‖ before and after, and φ, which stays. `norm` is the
    denominator. `mismatch` to `condition` are of the gauge between balanced factors. Modules that one of the pair lacks
    are left out. Totals are those of all modules as one matrix; of φ, means.
    """
    rows = sorted((row for batch in batches for row in _rows(batch)), key=lambda row: row["position"])
    pairs = [[row for row in (entry["pairs"][i] for entry in rows) if row] for i in range(len(inputs) - 1)]
    energies, moved = ([math.fsum(column) for column in zip(*(r[k] for r in rows), strict=True)] for k in _SQUARES)
    return {
        "inputs": [input_entry(*entry) for entry in zip(inputs, energies, strict=True)],
        "summary": {
            "modules": len(rows),
            "change": _roots(moved, energies),
            "pairs": [{"pair": [0, i], "modules": len(of), **_total(of, mode)} for i, of in enumerate(pairs, 1)],
            "seconds": dict(seconds),
            **peak_memory(),
        },
        "modules": [_module(row, mode) for row in rows],
    }


_SQUARES = ("energies", "moved")


def _rows(batch: AlignedBatch) -> list[Json]:
    columns = [{key: column.tolist() for key, column in measures.items()} for measures in batch.measures]
    energies, moved = batch.energies.tolist(), batch.moved.tolist()
    rows = []
    for row, (layer, position) in enumerate(zip(batch.layers, batch.positions, strict=True)):
        both = [layer.ranks[0] > 0 and rank > 0 for rank in layer.ranks[1:]]
        measures_of_row = ({key: column[row] for key, column in measures.items()} for measures in columns)
        pairs = [measures if there else {} for measures, there in zip(measures_of_row, both, strict=True)]
        entry = {"layer": layer, "position": position, "energies": energies[row], "moved": moved[row], "pairs": pairs}
        rows.append(entry)
    return rows


def _module(row: Json, mode: str) -> Json:
    layer = row["layer"]
    return {
        "name": layer.name,
        "shape": list(layer.shape),
        "ranks": list(layer.ranks),
        "change": _roots(row["moved"], row["energies"]),
        "pairs": [{"pair": [0, i], **_total([entry], mode)} for i, entry in enumerate(row["pairs"], 1) if entry],
    }


def _total(entries: Sequence[Mapping[str, Any]], mode: str) -> Json:
    """The sums of several modules of one pair, taken as one matrix."""
    norm = math.sqrt(math.fsum(entry["target"] for entry in entries))
    return {"norm": norm, **(_gauge_total(entries) if mode == "gauge" else _subspace_total(entries))}


def _gauge_total(entries: Sequence[Mapping[str, Any]]) -> Json:
    stages = [stage for stage in STAGES if all(stage in entry for entry in entries)] if entries else []
    return {
        "averaging_error": {stage: _relative(entries, stage) for stage in stages},
        "mismatch": math.fsum(entry["mismatch"] for entry in entries),
        "converged": sum(entry["converged"] for entry in entries),
        "gradient": max((entry["gradient"] for entry in entries), default=None),
        "steps": max((entry["steps"] for entry in entries), default=None),
        "condition": max((entry["condition"] for entry in entries), default=None),
    }


def _subspace_total(entries: Sequence[Mapping[str, Any]]) -> Json:
    return {
        "distance": {stage: _relative(entries, stage) for stage in ("before", "after")},
        "phi": {side: _mean([entry[side] for entry in entries]) for side in ("left", "right")},
        "raised": sum(entry["raised"] for entry in entries),
    }


def _relative(entries: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """√(Σ squares / Σ squared targets)."""
    return _root(math.fsum(entry[key] for entry in entries), math.fsum(entry["target"] for entry in entries))


def _roots(values: Sequence[float], of: Sequence[float]) -> list[float | None]:
    return [_root(value, size) for value, size in zip(values, of, strict=True)]


def _root(value: float, of: float) -> float | None:
    return math.sqrt(value / of) if of > 0 else None


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else None
