"""What the metrics of several pipelines share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lorafold.adapters import Adapter

Json = dict[str, Any]


def read_from(adapters: Iterable[Adapter], base: str | Path | None) -> list[str | Path]:
    """Files and folders that a result must not replace: those of the adapters, and the base weights."""
    return [path for path in (*(adapter.path for adapter in adapters), base) if path is not None]


def input_entry(adapter: Adapter, energy: float) -> Json:
    """What an input is, and ‖ΔW‖ over all its modules, of which `energy` is the square."""
    modules = adapter.modules.values()
    return {
        "path": None if adapter.path is None else str(adapter.path),
        "format": adapter.format,
        "modules": len(adapter.modules),
        "ranks": sorted({module.rank for module in modules}),
        "dtype": sorted({str(module.up.dtype).removeprefix("torch.") for module in modules}),
        "norm": math.sqrt(energy),
    }
