"""Whole updates by rows, for the rules that look at single outputs: in an orthonormal basis of the joint row space.

m = out, n = in, N = adapters, R = min(n, Σ r_i).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lorafold.core_space import Layer


def rows_of(layer: Layer, factors: Sequence[float]) -> tuple[Tensor, Tensor]:
    """X_i = f_i ΔW_i Z and Z, in float64: the rows of f_i ΔW_i are those of X_i Zᵀ.  (N, m, R), (n, R)

    Args:
        layer: the updates.
        factors: f_i, an adapter each.
    """
    Z = torch.linalg.qr(torch.cat([down.double() for down in layer.downs]).mT).Q
    scales = [factor * scale for factor, scale in zip(factors, layer.scales, strict=True)]
    parts = zip(scales, layer.ups, layer.downs, strict=True)
    return torch.stack([(scale * up.double()) @ (down.double() @ Z) for scale, up, down in parts]), Z


def turned(layer: Layer) -> Layer:
    """The layer with ΔW_iᵀ for ΔW_i: its columns are rows."""
    ups, downs = (tuple(factor.mT for factor in factors) for factors in (layer.downs, layer.ups))
    return replace(layer, ups=ups, downs=downs)
