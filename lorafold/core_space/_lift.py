"""From coordinates in core space back to factors of the layers.

b = modules, d = m or n, R = core dimension, r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.core_space._layer import Side, chunks, stack
from lorafold.core_space._reduce import CoreBatch


@dataclass(frozen=True)
class LiftedSide:
    """One factor of every layer, contiguous and on the CPU, with its Gram matrix before the final cast."""

    factors: list[Tensor]  # (m, r) or (r, n) each
    gram: Tensor  # (b, r, r)


def lift(batch: CoreBatch, left: Tensor, right: Tensor, dtype: torch.dtype) -> tuple[LiftedSide, LiftedSide]:
    """Factors up = Q_B X (m, r) and down = (Q_A Y)ᵀ (r, n) of every layer.

    Args:
        batch: the reduced layers.
        left, right: X and Y, coordinates (b, R, r).
        dtype: of the factors.
    """
    return (
        _lift_side(batch, "left", batch.left.transform @ left, dtype),
        _lift_side(batch, "right", batch.right.transform @ right, dtype),
    )


def _lift_side(batch: CoreBatch, side: Side, combination: Tensor, dtype: torch.dtype) -> LiftedSide:
    factors: dict[int, Tensor] = {}
    gram = torch.zeros_like(combination.mT @ combination)
    for positions in chunks(batch.layers, side, batch.slots):
        X = stack([batch.layers[i] for i in positions], side, batch.slots, torch.float64).to(combination.device)
        W = combination[positions]
        lifted = X @ W if side == "left" else W.mT @ X.mT
        gram[positions] = lifted.mT @ lifted if side == "left" else lifted @ lifted.mT
        factors |= zip(positions, lifted.to(dtype).cpu(), strict=True)
    return LiftedSide([factors[i] for i in range(len(batch.layers))], gram)
