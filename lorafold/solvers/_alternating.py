"""Alternating minimisation with Anderson acceleration; the start of every other solver.

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lorafold.batch import put, take
from lorafold.geometry import polar
from lorafold.objectives import DISTANCES, Objective
from lorafold.solvers._anderson import History, extrapolate, remember
from lorafold.solvers._registry import solver
from lorafold.solvers._solution import Point, Solution, point, solution
from lorafold.solvers._sweep import closed_form_start, sweep

_MEMORY = 6
# The chordal start of another distance needs to be near, not exact.
_NEAR, _NEAR_SWEEPS = 1e-3, 50


@solver("alternating")
def alternating(objective: Objective, *, tol: float, max_sweeps: int) -> Solution:
    """Sweeps (see `_sweep.py`) with Anderson acceleration until every module's certificate holds.

    Args:
        tol: bound on the relative Riemannian gradient norm.
        max_sweeps: give up on a module after so many; it is then reported as not converged.
    """
    first = start(objective)
    best, sweeps = settle(objective, first, tol, max_sweeps)
    return solution(best, first.value, sweeps, tol)


def start(objective: Objective) -> Point:
    """The closed form; for a distance that has none, the minimiser of the chordal objective with the same weights."""
    if objective.distance.stiffness is not None:
        return point(objective, *closed_form_start(objective))
    chordal = replace(objective, distance=DISTANCES["chordal"])
    near, _ = settle(chordal, start(chordal), _NEAR, _NEAR_SWEEPS)
    return point(objective, near.left, near.right)


def settle(objective: Objective, first: Point, tol: float, max_sweeps: int) -> tuple[Point, Tensor]:
    """Accelerated sweeps from `first`; the last point of every module and its number of sweeps (b,).

    The extrapolated point is taken where it is no worse than the plain sweep from the same point, which is monotone;
    so the objective never rises.
    """
    last, sweeps = first, torch.zeros_like(first.value, dtype=torch.int64)
    active = (first.gradient_norm > tol).nonzero().squeeze(-1)
    part, here = take(objective, active), take(first, active)
    history, fresh = History.empty(_pack(here), _MEMORY), torch.ones_like(active, dtype=torch.bool)
    for step in range(max_sweeps):
        if not len(active):
            break
        here, history, fresh = _accelerated_sweep(part, here, history, fresh, step)
        last = put(last, active, here)
        sweeps[active] += 1
        # converged modules leave the batch; copying it for one or two of them costs more than another sweep
        going = here.gradient_norm > tol
        if int(going.sum()) <= 0.8 * len(active):
            active, fresh = active[going], fresh[going]
            part, here, history = take(part, going), take(here, going), take(history, going)
    return last, sweeps


def _accelerated_sweep(
    objective: Objective, here: Point, history: History, fresh: Tensor, step: int
) -> tuple[Point, History, Tensor]:
    """The next point, the history, and for which modules that has to start anew."""
    plain = point(objective, *sweep(objective, here.left, here.right))
    history = remember(history, _pack(here), _pack(plain) - _pack(here), ~fresh, step)
    left, right = _unpack(extrapolate(history), here)
    faster = point(objective, polar(left), polar(right))
    worse = faster.value > plain.value
    rows = worse.nonzero().squeeze(-1)
    return put(faster, rows, take(plain, rows)), history, worse


def _pack(at: Point) -> Tensor:
    return torch.cat([at.left.flatten(1), at.right.flatten(1)], dim=1)


def _unpack(packed: Tensor, like: Point) -> tuple[Tensor, Tensor]:
    left, right = torch.split(packed, [like.left[0].numel(), like.right[0].numel()], dim=1)
    return left.view_as(like.left), right.view_as(like.right)
