"""Sweeps with Anderson acceleration.

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.common.batched import scatter_rows, select_rows
from lorafold.geometry import polar
from lorafold.objectives import Objective
from lorafold.solvers._anderson import Anderson
from lorafold.solvers._solution import Point, point
from lorafold.solvers._sweep import sweep

_MEMORY = 6


def sweeps(objective: Objective, first: Point, tol: float, max_sweeps: int) -> tuple[Point, Tensor]:
    """Accelerated sweeps from `first`; the last point of every module and its number of sweeps (b,).

    In float64 throughout. A sweep follows any change of the factors' gauge or of the adapters' order, so the result
    keeps but for what it makes of rounding: some 1e-8 of ΔW. In float32 that would be 1e-2, at no less cost.
    """
    last, count = first, torch.zeros_like(first.value, dtype=torch.int64)
    active = (first.gradient_norm > tol).nonzero().squeeze(-1)
    if not len(active):
        return last, count
    part, here = select_rows(objective, active), select_rows(first, active)
    anderson = Anderson(_pack(here), _MEMORY)
    for _ in range(max_sweeps):
        here, overshot = _accelerated_sweep(part, here, anderson)
        part = part.more_cautious(overshot)
        last = scatter_rows(last, active, here)
        count[active] += 1
        # converged modules leave the batch; copying it for one or two of them costs more than another sweep
        going = (here.gradient_norm > tol).nonzero().squeeze(-1)
        if not len(going):
            break
        if len(going) <= 0.8 * len(active):
            active, part, here = active[going], select_rows(part, going), select_rows(here, going)
            anderson.only(going)
    return last, count


def _accelerated_sweep(objective: Objective, here: Point, anderson: Anderson) -> tuple[Point, Tensor]:
    """The extrapolated point, or the plain sweep where that is worse than the present one, or else the present one.

    The plain sweep is monotone where the distance's shift is a bound; the rows where it overshot are returned too.
    """
    left, right = sweep(objective, here.left, here.right)
    packed = _pack(here)
    residual = torch.cat([left.flatten(1), right.flatten(1)], dim=1) - packed
    far_left, far_right = _unpack(anderson.extrapolate(packed, residual), here)
    faster = point(objective, polar(far_left), polar(far_right))
    limit = here.value + objective.rounding
    worse = faster.value > limit
    rows = worse.nonzero().squeeze(-1)
    if not len(rows):
        return faster, rows
    anderson.forget(worse)
    plain = point(select_rows(objective, rows), left[rows], right[rows])
    overshot = plain.value > limit[rows]
    stay = overshot.nonzero().squeeze(-1)
    return scatter_rows(faster, rows, scatter_rows(plain, stay, select_rows(here, rows[stay]))), rows[stay]


def _pack(at: Point) -> Tensor:
    return torch.cat([at.left.flatten(1), at.right.flatten(1)], dim=1)


def _unpack(packed: Tensor, like: Point) -> tuple[Tensor, Tensor]:
    left, right = torch.split(packed, [like.left[0].numel(), like.right[0].numel()], dim=1)
    return left.view_as(like.left), right.view_as(like.right)
