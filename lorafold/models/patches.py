"""What a layer multiplies by its weight, as vectors: tokens as they are, patches of an image for a convolution.

n = in * prod(kernel), t = vectors, B = inputs of a batch, L = their positions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

# Patches of one pass of a convolution that count: neighbours say the same.
_PATCHES = 1024


def vectors(layer: nn.Module, x: Tensor, counted: Tensor | None, generator: torch.Generator) -> Tensor:
    """What counts of the input x of a layer: (t, n), or (t,) tokens of an embedding.

    Args:
        layer: linear, convolutional (without groups) or embedding, and no wrapper.
        x: (B, L, n), (B L, n) or whatever it reads.
        counted: which positions count (B, L), where x has them; None: all.
        generator: chooses among the patches of an image.
    """
    if isinstance(layer, _ConvNd):
        return _patches(layer, x, generator)
    tokens = x if isinstance(layer, nn.Embedding) else x.flatten(0, -2)
    positions = x.shape if isinstance(layer, nn.Embedding) else x.shape[:-1]
    if counted is not None and positions in (counted.shape, (counted.numel(),)):
        return tokens.flatten()[counted.flatten()] if isinstance(layer, nn.Embedding) else tokens[counted.flatten()]
    return tokens.flatten() if isinstance(layer, nn.Embedding) else tokens


def reading(layer: nn.Module) -> tuple[Any, ...]:
    """What decides beside its input which vectors a layer reads: equal for layers that read the same of one input."""
    if isinstance(layer, _ConvNd):
        return layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.padding_mode
    return (isinstance(layer, nn.Embedding),)


def _patches(layer: Any, x: Tensor, generator: torch.Generator) -> Tensor:
    """Where the kernel is laid, at random places if there are many.  (t, n)"""
    axes = len(layer.kernel_size)
    x = x if x.ndim == axes + 2 else x[None]
    padded = _padded(layer, x)
    spans = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    sizes = [len(x), *((n - s) // step + 1 for n, s, step in zip(padded.shape[2:], spans, layer.stride, strict=True))]
    chosen = torch.randperm(math.prod(sizes), generator=generator)[:_PATCHES].to(x.device)
    batch, *places = torch.unravel_index(chosen, sizes)
    index: list[Tensor | slice] = [batch.reshape(-1, *[1] * axes), slice(None)]
    for axis, (place, step, d, k) in enumerate(
        zip(places, layer.stride, layer.dilation, layer.kernel_size, strict=True)
    ):
        offsets = torch.arange(k, device=x.device) * d
        shape = [len(chosen), *(k if other == axis else 1 for other in range(axes))]
        index.append((place[:, None] * step + offsets).reshape(shape))
    return padded[tuple(index)].movedim(-1, 1).flatten(1)


def _padded(layer: Any, x: Tensor) -> Tensor:
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
