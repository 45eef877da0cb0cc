"""What a merge measured, as plain JSON: one shape for tables, pages and sweeps.

b = modules, N = adapters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.common.peak_memory import peak_memory
from lorafold.common.text import brief
from lorafold.core_space import Layer
from lorafold.pipelines._metrics import Json, input_entry
from lorafold.pipelines.compare.batch import ComparedBatch
from lorafold.pipelines.merge.measures import Measures
from lorafold.solvers import Method, Solution

METHODS = {
    Method.CLOSED_FORM: "closed form",
    Method.NEWTON: "Newton",
    Method.SWEEPS: "sweeps",
    Method.RIEMANNIAN_ADAM: "RiemannianAdam",
}
# Of F, whose terms are about 1.
_ROUNDING, _TINY = 1e-13, 1e-300


@dataclass(frozen=True)
class MergedBatch:
    """Layers that were merged together, row by row."""

    layers: tuple[Layer, ...]
    ranks: list[int]  # of the merged modules
    energies: Tensor  # ‖ΔW_i‖² as read (b, N)
    solution: Solution
    measures: Measures
    orthonormality: Tensor  # largest |U_3ᵀU_3 - I| or |V_3ᵀV_3 - I| (b,)
    seconds: Mapping[str, float]  # per stage, of the thread that did the work
    compared: ComparedBatch | None = None  # with the merged adapter behind the others, where that was asked for

    __repr__ = brief


@dataclass(frozen=True)
class Calibrated:
    """The modules that were merged in the norm of statistics, and what was chosen for it."""

    modules: frozenset[str]
    ridge: float
    alike: tuple[tuple[int, int], ...]  # pairs of adapters that share their initialisation

    def summary(self) -> Json:
        """As plain JSON."""
        return {"modules": len(self.modules), "ridge": self.ridge, "shared_initialisation": [*map(list, self.alike)]}


def merge_metrics(
    inputs: Sequence[Adapter],
    merged: Adapter,
    batches: Sequence[MergedBatch],
    seconds: Mapping[str, float],
    calibrated: Calibrated | None = None,
) -> Json:
    """Inputs, summary and one entry per module, in the order of the merged adapter; null where nothing is defined."""
    found = {entry["name"]: entry for batch in batches for entry in _modules(batch)}
    modules = [found[name] for name in merged.modules]
    energies = torch.cat([batch.energies for batch in batches]).sum(0).tolist()
    found_in_all = _summary(modules, len(inputs), seconds)
    if calibrated:
        found_in_all["calibration"] = calibrated.summary()
        modules = [{**module, "calibrated": module["name"] in calibrated.modules} for module in modules]
    return {
        "inputs": [input_entry(adapter, energy) for adapter, energy in zip(inputs, energies, strict=True)],
        "summary": found_in_all,
        "modules": modules,
    }


def _modules(batch: MergedBatch) -> list[Json]:
    solution, measures = batch.solution, batch.measures
    columns = {
        # not below its bound by rounding
        "objective": solution.value.clamp_min(0),
        "objective_start": solution.value_start.clamp_min(0),
        "gradient_norm": solution.gradient_norm,
        "iterations": solution.iterations,
        "converged": solution.converged,
        **_certificate(solution),
        "orthonormality": batch.orthonormality,
        "retained": measures.retained,
        "reconstruction_error": measures.reconstruction_error,
        "left": measures.phi_left,
        "right": measures.phi_right,
        "inputs_left": measures.phi_inputs_left,
        "inputs_right": measures.phi_inputs_right,
    }
    plain = {name: _plain(column.tolist()) for name, column in columns.items()}
    return [
        _module(layer, rank, {name: column[row] for name, column in plain.items()})
        for row, (layer, rank) in enumerate(zip(batch.layers, batch.ranks, strict=True))
    ]


def _certificate(solution: Solution) -> dict[str, Any]:
    """How near the global minimum is, whether it is one to second order, and what found it; null where not said."""
    value, unknown = solution.value, torch.full_like(solution.value, torch.nan)
    bound = unknown if solution.bound is None else solution.bound
    excess = (value - bound).clamp_min(0)
    # what rounding leaves of F is no gap
    gap = torch.where(
        excess > _ROUNDING * solution.value_start.clamp_min(1), excess / value.clamp_min(_TINY), 0 * excess
    )
    return {
        "gap": gap,
        "curvature": unknown if solution.curvature is None else solution.curvature,
        "determined": unknown if solution.determined is None else solution.determined,
        "method": torch.full_like(value, -1) if solution.method is None else solution.method,
    }


def _module(layer: Layer, rank: int, values: Json) -> Json:
    sides = {side: {"phi": values.pop(side)} for side in ("left", "right")}
    before = {side: values.pop(f"inputs_{side}") for side in ("left", "right")}
    name_and_shape = {"name": layer.name, "shape": list(layer.shape), "ranks": list(layer.ranks), "rank": rank}
    method = int(values.pop("method"))
    values["found_by"] = METHODS[Method(method)] if method >= 0 else None
    return {**name_and_shape, **values, **sides, "phi_inputs": before}


def _summary(modules: Sequence[Json], count: int, seconds: Mapping[str, float]) -> Json:
    def mean(*path: str | int) -> float | None:
        values = [value for module in modules if (value := _at(module, path)) is not None]
        return math.fsum(values) / len(values) if values else None

    sides = ("left", "right")
    return {
        "modules": len(modules),
        "converged": sum(module["converged"] for module in modules),
        "found_by": dict(Counter(module["found_by"] for module in modules if module["found_by"])),
        "gap": _spread([module["gap"] for module in modules if module["gap"] is not None]),
        "undetermined": sum(module["determined"] is False for module in modules),
        "objective": mean("objective"),
        "objective_start": mean("objective_start"),
        "phi": {side: [mean(side, "phi", i) for i in range(count)] for side in sides},
        "phi_inputs": {side: mean("phi_inputs", side) for side in sides},
        "retained": [mean("retained", i) for i in range(count)],
        "reconstruction_error": mean("reconstruction_error"),
        "seconds": dict(seconds),
        **peak_memory(),
    }


def _spread(values: Sequence[float]) -> Json | None:
    return {"median": median(values), "largest": max(values)} if values else None


def _at(entry: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        entry = entry[key]
    return entry


def _plain(value: Any) -> Any:
    """NaN, which JSON lacks, becomes null."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
