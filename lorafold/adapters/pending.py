"""Layers whose update is stored as something else than a pair of factors, and how they become modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from lorafold.adapters.module import Module
from lorafold.common.text import brief


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
