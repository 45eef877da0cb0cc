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
    old = stored.read()
    _check(old, stored, "The model is damaged: name another one.")
    matrix = old.view(len(old), -1).to(plan.device, _wide(stored.dtype))
    exact = matrix.clone()
    for part in placed:
        _add(exact[part.rows.first : part.rows.last], part, layout)
    new = _rounded(exact, name, stored.dtype, plan)
    result = new.cpu().view(stored.shape)
    _check(result, stored, "The sum is too large for its dtype: lower the weights.")
    norms = (_norm(matrix), _norm(exact - matrix), _norm(new.to(exact.dtype) - exact))
    return result, Fused(name, stored.shape, len(placed), *norms)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize == 2 else torch.float64


def _add(target: Tensor, part: Placed, layout: Layout) -> None:
    """Add the rows of an update that belong here; all of it, transposed, where the tensor holds it so."""
    rows = slice(part.first, part.first + len(target))
    if factors := part.update.factors():
        up, down, strength = factors
        up, down = up.to(target), down.to(target)
        if part.weight.transposed:
            target.addmm_(down.mT, up.mT, alpha=strength)
        else:
            target.addmm_(up[rows], down, alpha=strength)
        return
    weight = layout.read(part.weight) if part.update.needs_weight else None
    matrix = part.update.matrix(weight).to(target)
    target += matrix.mT if part.weight.transposed else matrix[rows]


def _rounded(exact: Tensor, name: str, dtype: torch.dtype, plan: FusePlan) -> Tensor:
    if plan.settings.rounding == "nearest":
        return nearest(exact, dtype)
    return stochastic(exact, dtype, generator_of(plan.settings.seed, name))


def _check(tensor: Tensor, stored: Stored, remedy: str) -> None:
    check_tensors({stored.key: tensor}, stored.file, remedy)


def _norm(tensor: Tensor) -> float:
    return math.sqrt(float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2)
