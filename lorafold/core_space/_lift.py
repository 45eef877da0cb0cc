"""From coordinates in core space back to factors of the layers.

b = modules, d = m or n, R = core dimension, r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.core_space._basis import Basis
from lorafold.core_space._layer import Side, chunks, stack
from lorafold.core_space._reduce import CoreBatch

# How much larger than their sum the terms of a lifted column may be for float32.
_CANCELLATION = 100.0


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
        _lift_side(batch, "left", batch.left, left, dtype),
        _lift_side(batch, "right", batch.right, right, dtype),
    )


def _lift_side(batch: CoreBatch, side: Side, basis: Basis, coords: Tensor, dtype: torch.dtype) -> LiftedSide:
    combination = basis.transform @ coords
    work = _work_dtype(basis, combination, coords, dtype)
    factors: dict[int, Tensor] = {}
    gram = torch.zeros_like(combination.mT @ combination)
    for positions in chunks(batch.layers, side, batch.slots):
        X = stack([batch.layers[i] for i in positions], side, batch.slots, work).to(combination.device)
        W = combination[positions].to(work)
        lifted = X @ W if side == "left" else W.mT @ X.mT
        gram[positions] = (lifted.mT @ lifted if side == "left" else lifted @ lifted.mT).to(gram.dtype)
        factors |= zip(positions, lifted.to(dtype).cpu(), strict=True)
    return LiftedSide([factors[i] for i in range(len(batch.layers))], gram)


def _work_dtype(basis: Basis, combination: Tensor, coords: Tensor, dtype: torch.dtype) -> torch.dtype:
    """float32 where its rounding, with what cancels between the columns of X, is far below that of a 16-bit file."""
    if dtype not in (torch.float16, torch.bfloat16):
        return torch.float64
    columns = torch.linalg.vector_norm(basis.coords, dim=-2)  # of X (b, R)
    terms = torch.linalg.vector_norm(columns[..., None] * combination, dim=-2)  # (b, r)
    moderate = (terms <= _CANCELLATION * torch.linalg.vector_norm(coords, dim=-2)).all()
    return torch.float32 if bool(moderate) else torch.float64
