"""What a distillation left, as plain JSON: one shape for tables and scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lorafold.adapters import Adapter, Module
from lorafold.common.peak_memory import peak_rss_mb
from lorafold.pipelines._metrics import Json, input_entry


@dataclass(frozen=True)
class Agreement:
    """E‖h - h_i‖² / E‖h_base - h_i‖² on the inputs held back, by adapter.

    Args:
        before: of the start; `after`: of what was learnt.
        counts: inputs learnt from and held back.
        improved: whether what was learnt is nearer, and so was taken.
    """

    before: Sequence[float]
    after: Sequence[float]
    counts: Sequence[tuple[int, int]]
    improved: bool


def distill_metrics(
    inputs: Sequence[Adapter],
    start: Adapter,
    merged: Adapter,
    agreement: Agreement,
    losses: Sequence[float],
    seconds: Mapping[str, float],
) -> Json:
    """Inputs, summary, one entry per module in the order of the file, and the loss of every step.

    `moved`: ‖ΔW - ΔW_start‖ / ‖ΔW_start‖, null where the start is zero.
    """
    modules = [_entry(start.modules[name], module) for name, module in merged.modules.items()]
    counts = zip(agreement.counts, agreement.before, agreement.after, strict=True)
    tasks = [{"seen": n, "held_back": k, "before": before, "after": after} for (n, k), before, after in counts]
    energies = [math.fsum(_energy(module) for module in adapter.modules.values()) for adapter in inputs]
    return {
        "inputs": [
            {**input_entry(adapter, energy), **task}
            for adapter, energy, task in zip(inputs, energies, tasks, strict=True)
        ],
        "summary": {
            "modules": len(modules),
            "ranks": sorted({module["rank"] for module in modules}),
            "before": math.fsum(agreement.before) / len(tasks),
            "after": math.fsum(agreement.after) / len(tasks),
            "kept": "learnt" if agreement.improved else "start",
            "steps": len(losses),
            "seconds": dict(seconds),
            "peak_rss_mb": peak_rss_mb(),
        },
        "modules": modules,
        "losses": list(losses),
    }


def _entry(before: Module, after: Module) -> Json:
    norm, energy = math.sqrt(_energy(after)), _energy(before)
    squared = max(0.0, norm**2 + energy - 2 * _inner(before, after))
    return {
        "name": after.name,
        "shape": list(after.shape),
        "rank": after.rank,
        "norm": norm,
        "moved": math.sqrt(squared / energy) if energy > 0 else None,
    }


def _energy(module: Module) -> float:
    return _inner(module, module)


def _inner(one: Module, other: Module) -> float:
    """⟨ΔW, ΔW'⟩ from Gram matrices."""
    left, right = one.up.double().mT @ other.up.double(), one.down.double() @ other.down.double().mT
    return float((left * right).sum()) * one.scale * other.scale
