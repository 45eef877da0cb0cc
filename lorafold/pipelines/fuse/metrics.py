"""What fusing changed, as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lorafold.common.peak_memory import peak_memory
from lorafold.pipelines._metrics import Json
from lorafold.pipelines.fuse.tensor import Fused


def fused_entries(tensors: Sequence[Fused]) -> list[Json]:
    """One per tensor.

    `change`: ‖Σ wᵢ ΔWᵢ‖ / ‖W‖. `rounding`: what rounding adds to the update, as a share of its norm.
    """
    return [
        {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "updates": tensor.updates,
            "change": _ratio(tensor.update, tensor.weight),
            "rounding": _ratio(tensor.rounding, tensor.update),
        }
        for tensor in tensors
    ]


def totals(tensors: Sequence[Fused], in_all: int, seconds: Mapping[str, float]) -> Json:
    """The same of all tensors as one."""
    weight, update, rounding = (
        math.sqrt(math.fsum(getattr(tensor, name) ** 2 for tensor in tensors))
        for name in ("weight", "update", "rounding")
    )
    return {
        "tensors": in_all,
        "changed": len(tensors),
        "change": _ratio(update, weight),
        "rounding": _ratio(rounding, update),
        "seconds": dict(seconds),
        **peak_memory(),
    }


def _ratio(value: float, of: float) -> float | None:
    return value / of if of > 0 else None
