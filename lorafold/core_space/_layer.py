"""One module of the base model as all adapters see it, and the stacking of many of them.

m = out, n = in, d = m or n, r_i = rank of adapter i (0 where it lacks the module), R = Σ slots, N = adapters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lorafold.calibration import LayerStatistics
from lorafold.common.text import brief
from lorafold.geometry.products import product_svd

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
# Of ‖X‖‖Y‖: what float64 leaves of XYᵀ = 0.
ROUNDING = 1e-13
# How many numbers of stacked factors are held at a time: 8 MB in float64, which a CPU's cache holds; a GPU wants more.
_CHUNK, _CHUNK_ON_GPU = 2**20, 2**23


@dataclass(frozen=True)
class Calibration:
    """What the adapters' inputs say of a layer: M_i = E_i^(-½) (C_i + ridge (tr C_i / n) I) and T = Σ ŵ_i M_i.

    Args:
        statistics: of each adapter, None of one that lacks the module.
        energies: E_i.
        shares: ŵ_i >= 0, not all zero.
        ridge: > 0.
        subspaces: whether those of the ΔW_i count beside those of the calibrated updates.
    """

    statistics: tuple[LayerStatistics | None, ...]
    energies: tuple[float, ...]
    shares: tuple[float, ...]
    ridge: float
    subspaces: bool = True

    __repr__ = brief


@dataclass(frozen=True)
class Layer:
    """ΔW_i = scale_i up_i down_i for every adapter i; a rank of 0 says that the adapter lacks the module."""

    name: str
    ups: tuple[Tensor, ...]  # (m, r_i)
    downs: tuple[Tensor, ...]  # (r_i, n)
    scales: tuple[float, ...]
    calibration: Calibration | None = None

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)"""
        return self.ups[0].shape[0], self.downs[0].shape[1]

    @property
    def ranks(self) -> tuple[int, ...]:
        """r_i per adapter."""
        return tuple(up.shape[1] for up in self.ups)

    def tall(self, side: Side) -> tuple[Tensor, ...]:
        """up_i (m, r_i) or down_iᵀ (n, r_i)."""
        return self.ups if side == "left" else tuple(down.mT for down in self.downs)


def balanced_factors(layer: Layer) -> Layer:
    """The same updates as U σ^½ times σ^½ Vᵀ, in float64: factors whose columns are orthogonal.

    Only what float64 leaves of 0 is lost.
    """
    pairs = [_balanced(up, down) for up, down in zip(layer.ups, layer.downs, strict=True)]
    return replace(layer, ups=tuple(up for up, _ in pairs), downs=tuple(down for _, down in pairs))


def _balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    left, sigma, right = product_svd(up, down)
    rounding = ROUNDING * torch.linalg.matrix_norm(up.double()) * torch.linalg.matrix_norm(down.double())
    root = torch.where(sigma > rounding, sigma, 0.0).sqrt()
    return left * root, root[:, None] * right.mT


def chunks(
    layers: Sequence[Layer], side: Side, slots: Sequence[int], device: torch.device | None = None
) -> Iterator[list[int]]:
    """Positions of layers that share d, as many as may be stacked at a time on the device."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for position, layer in enumerate(layers):
        by_length[layer.shape[side == "right"]].append(position)
    most = _at_a_time(device)
    for length, positions in by_length.items():
        step = max(1, most // max(1, length * sum(slots)))
        yield from (positions[i : i + step] for i in range(0, len(positions), step))


def _at_a_time(device: torch.device | None) -> int:
    """Numbers; on a GPU that is nearly full no more than take a sixteenth of what is free, in float64."""
    if device is None or device.type != "cuda":
        return _CHUNK
    return max(_CHUNK, min(_CHUNK_ON_GPU, torch.cuda.mem_get_info(device)[0] // (16 * 8)))


def stack_on(
    layers: Sequence[Layer], side: Side, slots: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The same as `stack`, on a device; to a GPU factors travel as they are in the files, to find their slots there."""
    if device.type != "cpu":
        kinds = {(factor.dtype, factor.device.type) for layer in layers for factor in layer.tall(side)}
        full = all(layer.ranks == tuple(slots) for layer in layers)
        (of_files, where), *others = kinds
        if full and where == "cpu" and not others:
            return through_pinned(layers, side, slots, of_files, device).to(dtype)
    return stack(layers, side, slots, dtype).to(device)


def through_pinned(
    layers: Sequence[Layer], side: Side, slots: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Full slots in the dtype of the files, by one copy out of memory from which a GPU reads by itself."""
    b, length = len(layers), layers[0].shape[side == "right"]
    flat = torch.empty(b * length * sum(slots), dtype=dtype, pin_memory=device.type == "cuda")
    for part, own in zip(_parts(flat, b, length, side, slots), _by_adapter(layers, side), strict=True):
        torch.stack([factor.detach() for factor in own], out=part)
    moved = _parts(flat.to(device, non_blocking=True), b, length, side, slots)
    return torch.cat(moved, -1) if side == "left" else torch.cat(moved, 1).mT


def _parts(flat: Tensor, b: int, length: int, side: Side, slots: Sequence[int]) -> list[Tensor]:
    """Views of the numbers of each adapter: (b, m, r_i) or (b, r_i, n)."""
    whole = torch.split(flat, [b * length * slot for slot in slots])
    shapes = [(b, length, slot) if side == "left" else (b, slot, length) for slot in slots]
    return [part.view(shape) for part, shape in zip(whole, shapes, strict=True)]


def _by_adapter(layers: Sequence[Layer], side: Side) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(layer.ups if side == "left" else layer.downs for layer in layers), strict=True)


def stack(layers: Sequence[Layer], side: Side, slots: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The factors of layers that share d, side by side, adapter i in its slot, zero-padded.  (b, d, R)

    The memory layout is that of the files, (b, m, R) for up and (b, R, n) for down.
    """
    length, width = layers[0].shape[side == "right"], sum(slots)
    full = all(layer.ranks == tuple(slots) for layer in layers)
    new = torch.empty if full else torch.zeros
    if side == "left":
        out = new(len(layers), length, width, dtype=dtype)
    else:
        out = new(len(layers), width, length, dtype=dtype).mT
    for row, layer in zip(out, layers, strict=True):
        for slot, factor in zip(torch.split(row, list(slots), dim=1), layer.tall(side), strict=True):
            slot[:, : factor.shape[1]] = factor
    return out
