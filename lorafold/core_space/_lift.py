"""From coordinates in core space back to factors of the layers.

b = modules, d = m or n, R = core dimension, r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.core_space._basis import Basis
from lorafold.core_space._columns import columns, directions_of, gram
from lorafold.core_space._layer import Layer, Side, chunks
from lorafold.core_space._reduce import CoreBatch

# How much larger than their sum the terms of a lifted column may be for float32.
_CANCELLATION = 100.0


@dataclass(frozen=True)
class LiftedSide:
    """One factor of every layer, contiguous and on the CPU, with its Gram matrix before the final cast.

    The inner product is that in which the bases of core space are orthonormal.
    """

    factors: list[Tensor]  # (m, r) or (r, n) each
    gram: Tensor  # (b, r, r)


@dataclass(frozen=True)
class Combination:
    """Columns of one side's X = [B_1 .. B_N] or [A_1ᵀ .. A_Nᵀ]."""

    weights: Tensor  # (b, R, r); of a basis that is the whole space, the columns themselves (b, d, r)
    moderate: bool  # little cancels in X `weights`
    across: Tensor | None = None  # C `weights` (b, K, r) of calibrated layers, see `Columns`
    is_formed: bool = False  # whether `weights` are the columns


@dataclass(frozen=True)
class Liftable:
    """All that factors are made of, R x r numbers a layer: what a merge holds until its scale is known."""

    layers: tuple[Layer, ...]
    slots: tuple[int, ...]
    left: Combination
    right: Combination

    def lift(self, dtype: torch.dtype, scale: float = 1.0) -> tuple[LiftedSide, LiftedSide]:
        """Factors up (m, r) and down (r, n) of every layer, in this dtype, each times `scale`."""
        return self._side("left", self.left, dtype, scale), self._side("right", self.right, dtype, scale)

    def _side(self, side: Side, combination: Combination, dtype: torch.dtype, scale: float) -> LiftedSide:
        if combination.is_formed:
            return _formed(side, scale * combination.weights, dtype)
        # of a 16-bit file, float32's rounding is far below that of the file
        work = torch.float32 if combination.moderate and dtype.itemsize == 2 else torch.float64
        weights = scale * combination.weights
        factors: dict[int, Tensor] = {}
        grams = torch.zeros_like(weights.mT @ weights)
        widths = directions_of(self.layers)
        for positions in chunks(self.layers, side, self.slots, weights.device):
            layers = [self.layers[i] for i in positions]
            own = columns(layers, side, self.slots, work, weights.device, widths, solved=False)
            W = weights[positions].to(work)
            across = None if combination.across is None else scale * combination.across[positions].to(work)
            lifted = own.P @ W if side == "left" else own.combined(W, across)
            grams[positions] = gram(lifted if side == "left" else lifted.mT, own.metric).to(grams.dtype)
            factors |= zip(positions, lifted.to(dtype).cpu(), strict=True)
        return LiftedSide([factors[i] for i in range(len(self.layers))], grams)


def liftable(batch: CoreBatch, left: Tensor, right: Tensor) -> Liftable:
    """The factors up = Q_B X (m, r) and down = (Q_A Y)ᵀ (r, n) of every layer, before they are formed.

    Args:
        batch: the reduced layers.
        left, right: X and Y, coordinates (b, R, r).
    """
    combination = _combination(batch.right, right)
    if batch.across is not None:
        combination = replace(combination, across=batch.across @ combination.weights)
    return Liftable(batch.layers, batch.slots, _combination(batch.left, left), combination)


def lift(batch: CoreBatch, left: Tensor, right: Tensor, dtype: torch.dtype) -> tuple[LiftedSide, LiftedSide]:
    """The same, formed in this dtype."""
    return liftable(batch, left, right).lift(dtype)


def _formed(side: Side, tall: Tensor, dtype: torch.dtype) -> LiftedSide:
    factors = (tall if side == "left" else tall.mT).to(dtype).cpu()
    return LiftedSide([factor.contiguous() for factor in factors.unbind()], tall.mT @ tall)


def _combination(basis: Basis, coords: Tensor) -> Combination:
    if basis.transform is None:
        return Combination(coords, moderate=True, is_formed=True)
    weights = basis.transform @ coords
    columns = torch.linalg.vector_norm(basis.coords, dim=-2)  # of X (b, R)
    terms = torch.linalg.vector_norm(columns[..., None] * weights, dim=-2)  # (b, r)
    moderate = (terms <= _CANCELLATION * torch.linalg.vector_norm(coords, dim=-2)).all()
    return Combination(weights, bool(moderate))
