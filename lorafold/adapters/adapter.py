"""An adapter in memory, whatever file it came from.

Shapes: m = out, n = in * prod(kernel), r = rank of the module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from lorafold.adapters.pending import Pending


@dataclass(frozen=True, eq=False)
class Module:
    """One adapted layer: Delta W = scale * up @ down, flattened to m x n.

    Args:
        name: as in the file, without the prefix of the container ("base_model.model.") and without suffix.
        up: (m, r), in the dtype of the file and a view of its memory map.
        down: (r, n), likewise; factors that are not in the file, as of LoHa or DoRA, are float32 or wider.
        scale: any finite number.
        kernel: () for a linear layer, (kh, kw) for a 2-D convolution (1 x 1 too), likewise in 1-D and 3-D.
        bias: (m,), added to the layer's bias after multiplication by `scale` (PEFT's `lora_bias`).
        kind: "linear", "conv", or "embedding", whose weight (vocabulary, dim) changes by Delta W transposed.
        lost: the share of ‖Delta W‖² that is missing here, because its rank in the file was too high.
    """

    name: str
    up: Tensor  # (m, r)
    down: Tensor  # (r, n)
    scale: float
    kernel: tuple[int, ...] = ()
    bias: Tensor | None = None  # (m,)
    kind: str = "linear"
    lost: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.up.shape[0], self.down.shape[1]

    @property
    def rank(self) -> int:
        """The number of columns of `up`; the rank of Delta W may be lower."""
        return self.up.shape[1]


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
