"""What a change of rank left, as plain JSON: one shape for tables and scripts.

M = modules, r = largest rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.common.peak_memory import peak_memory
from lorafold.common.text import brief
from lorafold.pipelines._metrics import Json, input_entry


@dataclass(frozen=True)
class Resized:
    """What was found and done, by module."""

    sigma: Tensor  # singular values before, zero-padded (M, r)
    ranks: Tensor  # after (M,)
    errors: Tensor  # ‖ΔW' - ΔW‖² of the factors as written (M,)

    __repr__ = brief

    @property
    def energies(self) -> Tensor:
        """‖ΔW‖².  (M,)"""
        return self.sigma.square().sum(-1)

    @property
    def kept(self) -> Tensor:
        """Σσ² of the singular values that are kept.  (M,)"""
        columns = torch.arange(self.sigma.shape[1])
        return (self.sigma.square() * (columns < self.ranks[:, None])).sum(-1)


def resize_metrics(before: Adapter, after: Adapter, resized: Resized, seconds: Mapping[str, float]) -> Json:
    """Inputs, summary and one entry per module, in the order of the file; null where nothing is defined.

    `retained`: share of the squared singular values that is kept. `error`: ‖ΔW' - ΔW‖² / ‖ΔW‖² of the factors as they
    are written, hence 1 - retained and what rounding adds. Totals are those of all modules as one matrix.
    """
    energies, kept, errors = (column.tolist() for column in (resized.energies, resized.kept, resized.errors))
    modules = [
        {
            "name": name,
            "shape": list(module.shape),
            "ranks": [before.modules[name].rank],
            "rank": module.rank,
            "norm": math.sqrt(energies[i]),
            "retained": _share(kept[i], energies[i]),
            "error": _share(errors[i], energies[i]),
        }
        for i, (name, module) in enumerate(after.modules.items())
    ]
    energy = math.fsum(energies)
    return {
        "inputs": [input_entry(before, energy)],
        "summary": {
            "modules": len(modules),
            "ranks": sorted(set(resized.ranks.tolist())),
            "parameters": [_parameters(adapter.modules.values()) for adapter in (before, after)],
            "retained": _share(math.fsum(kept), energy),
            "error": _share(math.fsum(errors), energy),
            "seconds": dict(seconds),
            **peak_memory(),
        },
        "modules": modules,
    }


def _parameters(modules: Iterable[Module]) -> int:
    return sum(module.rank * sum(module.shape) for module in modules)


def _share(value: float, of: float) -> float | None:
    return value / of if of > 0 else None
