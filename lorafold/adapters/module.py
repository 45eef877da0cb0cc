"""A layer of an adapter: a module, which is a pair of factors and its scale, or what is still to become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.common.text import brief, shortened


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

    def __repr__(self) -> str:
        """One line: name, m x n, rank, scale, and dtype of the factors."""
        m, n = self.shape
        name, dtype = shortened(repr(self.name)), str(self.up.dtype).removeprefix("torch.")
        return f"Module({name}, {m} x {n}, rank {self.rank}, scale {self.scale:.4g}, {dtype})"


def identical(one: Module | None, other: Module | None) -> bool:
    """Whether both are there, with factors that are the same to the bit."""
    if one is None or other is None:
        return False
    return one.scale == other.scale and torch.equal(one.up, other.up) and torch.equal(one.down, other.down)


@dataclass(frozen=True, eq=False)
class Pending:
    """A layer that a format has read but not yet written as a pair of factors.

    Args:
        layer: exact; or what makes it with its update cut to at most a rank, None for exact.
        magnitude: DoRA's, (m, 1), one number per output, or (1, in), one per input; None: no DoRA.
        key: of the tensor that makes it one, for messages.
    """

    layer: Module | Callable[[int | None], Module]
    magnitude: Tensor | None
    key: str

    __repr__ = brief

    def module(self, rank: int | None) -> Module:
        """The layer without its magnitude; a pair of factors is exact, whatever its rank."""
        return self.layer if isinstance(self.layer, Module) else self.layer(rank)


def sort_layers(layers: Mapping[str, Module | Pending]) -> tuple[dict[str, Module], dict[str, Pending]]:
    """Modules, and what is pending."""
    modules = {name: layer for name, layer in layers.items() if isinstance(layer, Module)}
    return modules, {name: layer for name, layer in layers.items() if isinstance(layer, Pending)}
