"""One tensor of a model with the updates that belong to it: W + Σ wᵢ ΔWᵢ, rounded once.

m = out, n = in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.adapters.checkpoints.checkpoint import Stored
from lorafold.adapters.checkpoints.layout import Layout
from lorafold.adapters.files.finite import check_tensors
from lorafold.common.blocks import row_blocks, square_norm
from lorafold.common.seeds import generator_of
from lorafold.pipelines.fuse.places import Placed
from lorafold.pipelines.fuse.plan import FusePlan
from lorafold.pipelines.fuse.rounding import nearest, stochastic


@dataclass(frozen=True)
class Fused:
    """What became of a tensor.

    Args:
        name: of the tensor in the model.
        shape: its own.
        updates: how many were added.
        weight, update: ‖W‖ and ‖Σ wᵢ ΔWᵢ‖.
        rounding: ‖what was written - (W + Σ wᵢ ΔWᵢ)‖.
    """

    name: str
    shape: tuple[int, ...]
    updates: int
    weight: float
    update: float
    rounding: float


def fused(name: str, placed: Sequence[Placed], layout: Layout, plan: FusePlan) -> tuple[Tensor, Fused]:
    """The new tensor, in the dtype and shape of the old one, and what became of it.

    Raises:
        LorafoldError: NaN or Inf in the base, or numbers too large for its dtype.
    """
    stored = layout.checkpoint.tensors[name]
    tensor = stored.read()
    matrix, wide = tensor.view(len(tensor), -1), _wide(stored.dtype)
    addends = [_addend(part, layout, plan.device, wide) for part in placed]
    generator, squares = generator_of(plan.settings.seed, name), [0.0, 0.0, 0.0]
    for rows in row_blocks(*matrix.shape):
        old = matrix[rows].to(plan.device, wide)
        exact = torch.zeros_like(old)
        for addend in addends:
            addend.add_to(exact, rows.start)
        update = square_norm(exact)
        exact += old
        new = _rounded(exact, stored.dtype, plan.settings.rounding, generator)
        for place, square in enumerate((square_norm(old), update, square_norm(exact.sub_(new)))):
            squares[place] += square
        matrix[rows] = new.cpu()
    if not math.isfinite(sum(squares)):
        _find_fault(tensor, stored)
    return tensor, Fused(name, stored.shape, len(placed), *map(math.sqrt, squares))


@dataclass(frozen=True, eq=False)
class _Addend:
    """What is added to rows of a stored tensor: left @ right, or a whole matrix; as the tensor lies.

    Args:
        first: of the rows.
        left: (rows, r), or the matrix.
        right: (r, columns); None: the matrix is whole.
    """

    first: int
    left: Tensor
    right: Tensor | None

    def add_to(self, block: Tensor, start: int) -> None:
        """Add what belongs to the rows of the tensor from `start` on."""
        low, high = max(start, self.first), min(start + len(block), self.first + len(self.left))
        if low >= high:
            return
        target, left = block[low - start : high - start], self.left[low - self.first : high - self.first]
        if self.right is None:
            target += left
        else:
            target.addmm_(left, self.right)


def _addend(part: Placed, layout: Layout, device: torch.device, wide: torch.dtype) -> _Addend:
    """The rows of an update that belong to a tensor; all of it, transposed, where the tensor holds it so."""
    rows = slice(part.first, part.first + part.rows.last - part.rows.first)
    if factors := part.update.factors():
        up, down, strength = factors
        up, down = strength * up.to(device, wide), down.to(device, wide)
        left, right = (down.mT, up.mT) if part.weight.transposed else (up[rows], down)
        return _Addend(part.rows.first, left, right)
    weight = layout.read(part.weight) if part.update.needs_weight else None
    matrix = part.update.matrix(weight).to(device, wide)
    return _Addend(part.rows.first, matrix.mT if part.weight.transposed else matrix[rows], None)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize == 2 else torch.float64


def _rounded(exact: Tensor, dtype: torch.dtype, rounding: str, generator: torch.Generator) -> Tensor:
    return nearest(exact, dtype) if rounding == "nearest" else stochastic(exact, dtype, generator)


def _find_fault(tensor: Tensor, stored: Stored) -> None:
    """Raise LorafoldError where the base, or else the sum, holds NaN or Inf."""
    check_tensors({stored.key: stored.read()}, stored.file, "The model is damaged: name another one.")
    check_tensors({stored.key: tensor}, stored.file, "The sum is too large for its dtype: lower the weights.")
