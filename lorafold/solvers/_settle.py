"""From exact eigenspaces to a point whose certificate holds, by the method that the distance allows.

b = modules.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.common.batched import scatter_rows, select_rows
from lorafold.objectives import Objective
from lorafold.solvers._bases import Bases
from lorafold.solvers._newton import descend
from lorafold.solvers._solution import Point, point
from lorafold.solvers._start import start
from lorafold.solvers.alternating import sweeps


def begin(objective: Objective, tol: float, max_steps: int) -> tuple[Point, Point, Tensor]:
    """The start, the point that `settle` finds from it, and the number of steps (b,)."""
    first, bases = start(objective, tol)
    last, steps = first, torch.zeros_like(first.value, dtype=torch.int64)
    rows = (first.gradient_norm > tol).nonzero().squeeze(-1)
    if max_steps and len(rows):
        polished, count = polish(select_rows(objective, rows), select_rows(bases, rows), tol, max_steps)
        last, steps = scatter_rows(last, rows, polished), steps.index_copy(0, rows, count)
    return first, last, steps


def polish(objective: Objective, bases: Bases, tol: float, max_steps: int) -> tuple[Point, Tensor]:
    """Newton steps, or sweeps where the distance has no Hessian; the last points and their number of steps (b,)."""
    if objective.is_curved:
        return descend(objective, bases, tol, max_steps)
    rank = objective.rank
    return sweeps(objective, point(objective, bases.left[..., :rank], bases.right[..., :rank]), tol, max_steps)
