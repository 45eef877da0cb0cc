"""What may be done to adapters before they are merged: cut to their leading directions, brought to one norm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.common.parallel import map_parallel
from lorafold.core_space import energies, participation
from lorafold.core_space.problem import FAINT
from lorafold.layers.line_up import line_up
from lorafold.pipelines.resize.pipeline import resize

_CPU = torch.device("cpu")
# Sums of squares between these are right in float32 to many more digits than a norm needs here.
_LEAST, _MOST = 1e-24, 1e30
_MOST_GAIN = 10.0
# Of outputs, see `intensity`; chosen on validation examples of two models, docs/quality.md.
_LARGE = 0.08

SATURATE: Literal["saturate"] = "saturate"
Balance = float | Literal["saturate"]


def truncated(adapter: Adapter, rank: int | None) -> Adapter:
    """The adapter with every ΔW replaced by its best approximation of at most this rank (Eckart & Young 1936).

    Factors come in float32, or float64 where they were: truncation is not to add the rounding of a 16-bit file.
    """
    if rank is None or all(module.rank <= rank for module in adapter.modules.values()):
        return adapter
    wide = replace(adapter, modules={name: _wide(module) for name, module in adapter.modules.items()})
    return replace(adapter, modules=resize(wide, rank=rank, device="cpu").adapter.modules)


def _wide(module: Module) -> Module:
    dtype = torch.promote_types(torch.promote_types(module.up.dtype, module.down.dtype), torch.float32)
    return replace(module, up=module.up.to(dtype), down=module.down.to(dtype))


def balancing_factors(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    balance: Balance = 1.0,
    device: torch.device = _CPU,
) -> list[float]:
    """Factors that bring the norms of adapters that meet together and keep their mean.

    c_i = g_i Σ_j s_ij n_j / Σ_j s_ij g_j n_j, n_i = ‖ΔW_i‖ of whole adapters. s_ij is the share of the energy of i
    in modules that j has too: where all have all modules, these are means over the adapters, and of one that meets no
    other nothing changes. It is less for a faint j (see `participation`), and 0 for one of weight 0. No factor is above
    10: what is hardly there is not blown up. One that changes nothing keeps a factor of 1.

    Args:
        balance: p in [0, 1], for g_i = n_i^-p: at 1 all norms become equal, at 1/2 the ratio of two becomes its root.
            SATURATE, for g_i = (1 + (t_i / 0.08)²)^-½ with t_i of `intensity`: norms far above that become equal, and
            those far below keep their ratio.
    """
    parts = [module_energies(adapter, device) for adapter in adapters]
    sizes = [math.sqrt(sum(own.values())) for own in parts]
    counted = [size if weight else 0.0 for size, weight in zip(sizes, weights, strict=True)]
    if not any(counted) or not all(map(math.isfinite, counted)):  # NaN and Inf are named where they are met again
        return [1.0] * len(sizes)
    # relative to the largest: powers of norms far from 1 must not leave the range of floats
    relative = torch.tensor(sizes, dtype=torch.float64) / max(counted)
    wanted = _saturating(adapters, parts) if balance == SATURATE else relative**-balance
    n = torch.tensor(counted, dtype=torch.float64) / max(counted)
    shares = _met(parts, sizes) * participation(n.square())
    means = shares @ torch.stack([n, torch.where(n > 0, n * wanted, 0.0)], 1)  # (N, 2)
    gains = means[:, 0] / means[:, 1] * wanted
    return torch.where(means[:, 1] > 0, gains.clamp_max(_MOST_GAIN), 1.0).tolist()


def _saturating(adapters: Sequence[Adapter], parts: Sequence[Mapping[str, float]]) -> Tensor:
    """(1 + (t / 0.08)²)^-½ of every adapter.  (N,)"""
    sizes = [intensity(adapter, energies) for adapter, energies in zip(adapters, parts, strict=True)]
    return torch.tensor([_LARGE / math.hypot(_LARGE, size) for size in sizes], dtype=torch.float64)


def intensity(adapter: Adapter, energies: Mapping[str, float]) -> float:
    """t: how much the adapter changes the outputs of its layers, for inputs of independent entries of size 1.

    t² = Σ_m E_m (E_m / d_m) / Σ_m E_m with E_m = ‖ΔW_m‖² and d_m outputs: the mean square of an entry of ΔW_m x, and
    of that the mean over the adapter's energy, in which a layer that is hardly changed hardly counts.
    """
    total = math.fsum(energies.values())
    if not total:
        return 0.0
    outputs = {name: module.shape[0] for name, module in adapter.modules.items()}
    return math.sqrt(math.fsum(energy / total * (energy / outputs[name]) for name, energy in energies.items()))


def _met(parts: Sequence[Mapping[str, float]], sizes: Sequence[float]) -> Tensor:
    """The share of the energy of i in modules that j changes too, less where j is below 1 % of i.  (N, N)"""
    met = [
        [math.fsum(min(energy, other.get(name, 0.0) / FAINT**2) for name, energy in own.items()) for other in parts]
        for own in parts
    ]
    return torch.tensor(met, dtype=torch.float64) / torch.tensor(sizes, dtype=torch.float64).square()[:, None]


def module_energies(adapter: Adapter, device: torch.device = _CPU) -> dict[str, float]:
    """‖ΔW‖² module by module, from Gram matrices: ‖sBA‖² = s² ⟨BᵀB, AAᵀ⟩."""
    if not adapter.modules:
        return {}
    if device.type != "cpu":
        return dict(zip(adapter.modules, energies(line_up([adapter]), device).tolist(), strict=True))
    return dict(zip(adapter.modules, map_parallel(_energy, [*adapter.modules.values()], _CPU), strict=True))


def _energy(module: Module) -> float:
    # a product, not a power, which raises where it overflows
    return module.scale * module.scale * max(0.0, inner_product(module.up, module.down))


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
