"""What may be done to adapters before they are merged: cut to their leading directions, brought to one norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.common.parallel import map_parallel
from lorafold.core_space import energies
from lorafold.layers.line_up import line_up
from lorafold.pipelines.resize.pipeline import resize

_CPU = torch.device("cpu")
# Pieces of work per adapter; a number of its own, so that sums do not depend on the number of threads.
_PIECES = 8
# Sums of squares between these are right in float32 to many more digits than a norm needs here.
_LEAST, _MOST = 1e-24, 1e30


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


def balancing_factors(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    balance: float = 1.0,
    device: torch.device = _CPU,
) -> list[float]:
    """Factors that bring the adapters' norms together and keep their mean.

    c_i = ‖ΔW_i‖^-p mean_j ‖ΔW_j‖ / mean_j ‖ΔW_j‖^(1-p), norms being those of whole adapters. The means go over the
    adapters of a weight other than 0. One that changes nothing keeps a factor of 1.

    Args:
        balance: p in [0, 1]: at 1 all norms become equal, at 1/2 the ratio of two becomes its root.
    """
    sizes = norms(adapters, device)
    counted = [size for size, weight in zip(sizes, weights, strict=True) if size and weight]
    if not counted or not all(map(math.isfinite, counted)):  # NaN and Inf are named where they are met again
        return [1.0] * len(sizes)
    # relative to the largest: powers of norms far from 1 must not leave the range of floats
    unit = max(counted)
    level = math.fsum(size / unit for size in counted) / math.fsum((size / unit) ** (1 - balance) for size in counted)
    return [level * (size / unit) ** -balance if size else 1.0 for size in sizes]


def norms(adapters: Sequence[Adapter], device: torch.device = _CPU) -> list[float]:
    """‖ΔW‖ over all modules of each adapter, from Gram matrices: ‖sBA‖² = s² ⟨BᵀB, AAᵀ⟩."""
    if device.type != "cpu":
        layers = [line_up([adapter]) if adapter.modules else [] for adapter in adapters]
        return [math.sqrt(float(energies(own, device).sum())) if own else 0.0 for own in layers]
    pieces = [[*adapter.modules.values()][i::_PIECES] for adapter in adapters for i in range(_PIECES)]
    found = [*map_parallel(_energy, pieces, _CPU)]
    return [math.sqrt(sum(found[i : i + _PIECES])) for i in range(0, len(found), _PIECES)]


def _energy(modules: Sequence[Module]) -> float:
    # a product, not a power, which raises where it overflows
    return sum(module.scale * module.scale * max(0.0, inner_product(module.up, module.down)) for module in modules)


def inner_product(up: Tensor, down: Tensor) -> float:
    """⟨BᵀB, AAᵀ⟩; of 16-bit factors in float32, which is enough for a norm, where squares stay well inside it."""
    if up.dtype.itemsize == down.dtype.itemsize == 2:
        B, A = up.float(), down.float()
        left, right = B.mT @ B, A @ A.mT
        if all(_LEAST < float(gram.trace()) < _MOST for gram in (left, right)):
            return float((left.double() * right.double()).sum())
    up, down = up.double(), down.double()
    return float(((up.mT @ up) * (down @ down.mT)).sum())


def scaled(adapter: Adapter, gain: float) -> Adapter:
    """The adapter times a number: modules with their biases through the scale, and additive tensors."""
    modules = {name: replace(module, scale=gain * module.scale) for name, module in adapter.modules.items()}
    deltas = {key: (gain * delta.double()).to(delta.dtype) for key, delta in adapter.deltas.items()}
    return replace(adapter, modules=modules, deltas=deltas)
