"""From float32 or float64 to the dtype of a file: to the nearest number, or up or down at random."""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def nearest(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to nearest, ties to even."""
    return values.to(dtype)


def stochastic(values: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Each to one of the two numbers around it, with the chances that make it right on average.

    Args:
        generator: on the CPU, so that every device draws the same numbers.
    """
    rounded = values.to(dtype)
    rest = values - rounded.to(values.dtype)
    neighbour = _next(rounded, rest)
    gap = (neighbour.to(values.dtype) - rounded.to(values.dtype)).abs()
    draw = torch.rand(values.shape, generator=generator, dtype=torch.float32).to(values)
    moves = (rest != 0) & neighbour.isfinite() & (draw * gap < rest.abs())
    return torch.where(moves, neighbour, rounded)


def _next(values: Tensor, direction: Tensor) -> Tensor:
    """The neighbour of every number towards the sign of `direction`, in its own dtype."""
    bits = values.view(_BITS[values.element_size()])
    away = (direction > 0) == ~torch.signbit(values)
    stepped = (bits + torch.where(away, 1, -1).to(bits.dtype)).view(values.dtype)
    least = torch.ones_like(bits).view(values.dtype)
    return torch.where(values == 0, torch.where(direction > 0, least, -least), stepped)
