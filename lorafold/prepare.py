"""What may be done to adapters before they are merged: cut to their leading directions, brought to one norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from lorafold.adapters import Adapter, Module
from lorafold.resize import resize


def truncated(adapter: Adapter, rank: int | None) -> Adapter:
    """The adapter with every ΔW replaced by its best approximation of at most this rank (Eckart & Young 1936).

    Factors come in float32, or float64 where they were: truncation is not to add the rounding of a 16-bit file.
    """
    if rank is None or all(module.rank <= rank for module in adapter.modules.values()):
        return adapter
    wide = replace(adapter, modules={name: _wide(module) for name, module in adapter.modules.items()})
    return replace(adapter, modules=resize(wide, rank=rank).adapter.modules)


def _wide(module: Module) -> Module:
    dtype = torch.promote_types(torch.promote_types(module.up.dtype, module.down.dtype), torch.float32)
    return replace(module, up=module.up.to(dtype), down=module.down.to(dtype))


def gains(adapters: Sequence[Adapter], weights: Sequence[float], balance: float = 1.0) -> list[float]:
    """Factors that bring the adapters' norms together and keep their mean.

    c_i = ‖ΔW_i‖^-p mean_j ‖ΔW_j‖ / mean_j ‖ΔW_j‖^(1-p), norms being those of whole adapters. The means go over the
    adapters of a weight other than 0. One that changes nothing keeps a factor of 1.

    Args:
        balance: p in [0, 1]: at 1 all norms become equal, at 1/2 the ratio of two becomes its root.
    """
    norms = [norm(adapter) for adapter in adapters]
    counted = [size for size, weight in zip(norms, weights, strict=True) if size and weight]
    if not counted:
        return [1.0] * len(norms)
    # relative to the largest: powers of norms far from 1 must not leave the range of floats
    unit = max(counted)
    level = math.fsum(size / unit for size in counted) / math.fsum((size / unit) ** (1 - balance) for size in counted)
    return [level * (size / unit) ** -balance if size else 1.0 for size in norms]


def norm(adapter: Adapter) -> float:
    """‖ΔW‖ over all modules, from Gram matrices: ‖sBA‖² = s² ⟨BᵀB, AAᵀ⟩."""
    return math.sqrt(math.fsum(map(_energy, adapter.modules.values())))


def _energy(module: Module) -> float:
    up, down = module.up.double(), module.down.double()
    return module.scale**2 * max(0.0, float(((up.mT @ up) * (down @ down.mT)).sum()))


def scaled(adapter: Adapter, gain: float) -> Adapter:
    """The adapter times a number: modules with their biases through the scale, and additive tensors."""
    modules = {name: replace(module, scale=gain * module.scale) for name, module in adapter.modules.items()}
    deltas = {key: (gain * delta.double()).to(delta.dtype) for key, delta in adapter.deltas.items()}
    return replace(adapter, modules=modules, deltas=deltas)
