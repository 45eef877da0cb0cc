"""What was found in an adapter, as plain JSON: one shape for tables and scripts.

M = modules, r = largest rank.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters.metadata.base_model import base_model
from lorafold.adapters.metadata.training import frequent_tags
from lorafold.adapters.module import Pending
from lorafold.adapters.naming.model_parts import kind_of
from lorafold.common.text import brief
from lorafold.layers.ranks import energy_ranks
from lorafold.pipelines._metrics import Json
from lorafold.pipelines.inspect.warnings import warnings

ENERGY = 0.95  # the rank that holds this share of an update tells how far it can be cut
MOST_TAGS = 20


@dataclass(frozen=True)
class Findings:
    """What was read and computed, by module."""

    sigma: Tensor  # singular values, zero-padded and zero where a module is not finite (M, r)
    finite: Tensor  # (M,)
    subnormal: Tensor  # whether most numbers of a factor are float16 subnormals (M,)
    keys: Collection[str]  # names of the tensors in the file; none for an adapter in memory
    bytes: int | None  # of the file with the tensors
    pending: Mapping[str, Pending]  # layers that were no pair of factors in the file

    __repr__ = brief


def inspect_metrics(adapter: Adapter, findings: Findings) -> Json:
    """Format, base model, summary, metadata, warnings, and one entry per module, in the order of the file.

    `norm` is ‖ΔW‖, `spectral_norm` its largest singular value, `used` its numerical rank, `rank_95` the rank that
    holds 95 % of ‖ΔW‖²; null where a module is not finite. Totals are those of all modules as one matrix.
    """
    modules = _modules(adapter, findings)
    guess = base_model(adapter)
    return {
        "path": None if adapter.path is None else str(adapter.path),
        "bytes": findings.bytes,
        "format": adapter.format,
        "base_model": None if guess is None else {"name": guess.name, "evidence": guess.evidence},
        "summary": _summary(adapter, modules),
        "trigger_phrase": adapter.metadata.get("modelspec.trigger_phrase"),
        "tags": frequent_tags(adapter.metadata, MOST_TAGS),
        "warnings": warnings(adapter, modules, findings.keys, findings.pending),
        "metadata": dict(adapter.metadata),
        "modules": modules,
    }


def _modules(adapter: Adapter, findings: Findings) -> list[Json]:
    squares = findings.sigma.square().sum(-1).tolist()
    columns = {
        "spectral_norm": findings.sigma[:, 0].tolist(),
        "used": (findings.sigma > 0).sum(-1).tolist(),
        "rank_95": energy_ranks(findings.sigma, ENERGY).tolist(),
    }
    flags = {"finite": findings.finite.tolist(), "subnormal": findings.subnormal.tolist()}
    rows = []
    for i, (name, module) in enumerate(adapter.modules.items()):
        measured: dict[str, Any] = {"norm": math.sqrt(squares[i]), **{key: of[i] for key, of in columns.items()}}
        finite = measured if flags["finite"][i] else dict.fromkeys(measured)
        rows.append({"name": name, **_described(module), **finite, **{key: of[i] for key, of in flags.items()}})
    return rows


def _described(module: Module) -> Json:
    """What a module is before anything is computed."""
    return {
        "layer": kind_of(module.name),
        "kind": module.kind,
        "shape": list(module.shape),
        "kernel": list(module.kernel),
        "rank": module.rank,
        "alpha": module.scale * module.rank,
        "scale": module.scale,
        "dtype": str(module.up.dtype).removeprefix("torch."),
    }


def _summary(adapter: Adapter, modules: list[Json]) -> Json:
    return {
        "modules": len(modules),
        "kinds": dict(Counter(module["kind"] for module in modules)),
        "ranks": sorted({module["rank"] for module in modules}),
        "alphas": sorted({module["alpha"] for module in modules}),
        "dtypes": sorted({module["dtype"] for module in modules}),
        "parameters": sum(module["rank"] * sum(module["shape"]) for module in modules),
        "norm": math.sqrt(math.fsum((module["norm"] or 0) ** 2 for module in modules)),
        "other_tensors": len(adapter.deltas) + len(adapter.extras),
    }
