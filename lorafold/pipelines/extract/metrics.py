"""What an extraction found and kept, as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from lorafold.adapters.files.model_files import ModelFiles
from lorafold.common.peak_memory import peak_memory
from lorafold.pipelines._metrics import Json
from lorafold.pipelines.extract.layer import Extracted


def model_entry(files: ModelFiles) -> Json:
    """What a model is on the disk."""
    return {"path": str(files.path), "files": len(files.tensors), "bytes": files.size}


def extract_metrics(
    base: ModelFiles,
    tuned: ModelFiles,
    layers: Sequence[Extracted],
    compared: int,
    left_out: Mapping[str, Sequence[str]],
    whole: int,
    seconds: Mapping[str, float],
) -> Json:
    """Models, summary and one entry per module; null where nothing is defined.

    `retained`: share of ‖ΔW‖² that the kept singular values are. `error`: ‖ΔW - factors‖² / ‖ΔW‖² of the factors as
    written. `rounding`: the share of ‖ΔW‖² that the rounding of the files explains. `excess`: how far the norm of the
    error may be above that of the best factors of the rank, estimated from above. Totals are those of all modules as
    one matrix.
    """
    energy = math.fsum(layer.energy for layer in layers)
    modules = [_entry(layer) for layer in layers]
    return {
        "inputs": [model_entry(tuned)],
        "base": model_entry(base),
        "summary": {
            "compared": compared,
            "modules": len(layers),
            "whole": whole,
            "left_out": {reason: list(names) for reason, names in left_out.items()},
            "ranks": sorted({layer.module.rank for layer in layers}),
            "parameters": sum(layer.module.rank * sum(layer.module.shape) for layer in layers),
            "norm": math.sqrt(energy),
            "retained": _mean(layers, [entry["retained"] for entry in modules], energy),
            "error": _mean(layers, [entry["error"] for entry in modules], energy),
            "rounding": _mean(layers, [entry["rounding"] for entry in modules], energy),
            "excess": max((layer.excess for layer in layers), default=None),
            "seconds": dict(seconds),
            **peak_memory(),
        },
        "modules": modules,
    }


def _entry(layer: Extracted) -> Json:
    return {
        "name": layer.module.name,
        "shape": list(layer.module.shape),
        "rank": layer.module.rank,
        "norm": math.sqrt(layer.energy),
        "retained": layer.retained,
        "error": None if layer.error is None else layer.error / layer.energy,
        "rounding": layer.rounding,
        "excess": layer.excess,
    }


def _mean(layers: Sequence[Extracted], shares: Iterable[float | None], energy: float) -> float | None:
    """Weighted by energy; None where one is not known."""
    known = [share * layer.energy for layer, share in zip(layers, shares, strict=True) if share is not None]
    return math.fsum(known) / energy if energy > 0 and len(known) == len(layers) else None
