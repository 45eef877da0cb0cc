"""An adapter in memory, whatever file it came from.

Shapes: m = out, n = in * prod(kernel), r = rank of the module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lorafold.adapters.module import Module, Pending
from lorafold.common.text import shortened, span


@dataclass(frozen=True, eq=False)
class Adapter:
    """One LoRA.

    Args:
        format: the name of its entry in `FORMATS`; decides how `save` lays it out.
        modules: by name, in the order of the file.
        deltas: further additive tensors by full key (kohya `diff_b`): a merge adds them up with the weights.
        extras: absolute tensors by full key (PEFT's modules_to_save): a merge can only carry them.
        metadata: `__metadata__` of the safetensors file.
        config: adapter_config.json; empty for single-file formats.
        path: the file or folder it was read from; None for a new adapter.
        pending: layers, by name, that a format leaves to `load`, which makes modules of them: none otherwise.
    """

    format: str
    modules: Mapping[str, Module]
    deltas: Mapping[str, Tensor] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    pending: Mapping[str, Pending] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line: format, modules, ranks, dtypes of the factors, and the path."""
        modules = self.modules.values()
        dtypes = dict.fromkeys(str(module.up.dtype).removeprefix("torch.") for module in modules)
        rank = f"rank {span(module.rank for module in modules)}"
        path = [] if self.path is None else [shortened(repr(str(self.path)))]
        return f"Adapter({', '.join((self.format, f'{len(modules)} modules', rank, *dtypes, *path))})"
