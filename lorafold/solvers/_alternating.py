"""Alternating minimisation with Anderson acceleration; the start of every other solver.

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.batch import put, take, to_floating
from lorafold.geometry import polar
from lorafold.objectives import Objective
from lorafold.solvers._anderson import Anderson
from lorafold.solvers._registry import solver
from lorafold.solvers._solution import Point, Solution, point, solution
from lorafold.solvers._sweep import closed_form_start, sweep

_MEMORY = 6
# Power sweeps are cheap and gain most at first; exact eigenspaces resolve small gaps and leave saddle points.
_POWER_SWEEPS = 4
# Relative gradient norms below this are left to float64: float32 resolves no less than 1e-6 to 1e-5.
_FLOAT32_TOL = 5e-5
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
    last, sweeps = settle(objective, first, tol, max_sweeps)
    return solution(last, first.value, sweeps, tol)


def start(objective: Objective) -> Point:
    """The closed form; for a distance that has none, the minimiser of the chordal objective with the same weights."""
    if objective.is_quadratic:
        return point(objective, *closed_form_start(objective))
    chordal = objective.chordal
    near, _ = settle(chordal, start(chordal), _NEAR, _NEAR_SWEEPS)
    return point(objective, near.left, near.right)


def settle(objective: Objective, first: Point, tol: float, max_sweeps: int) -> tuple[Point, Tensor]:
    """Accelerated sweeps from `first`; the last point of every module and its number of sweeps (b,).

    They run in float32 as far as that resolves the gradient; the certificate, and what is left to do, in float64.
    """
    low = to_floating(objective, torch.float32)
    float32_tol = max(tol / 2, _FLOAT32_TOL)
    rough, sweeps = _descend(low, to_floating(first, torch.float32), float32_tol, max_sweeps // 2, _POWER_SWEEPS)
    moved = (sweeps > 0).nonzero().squeeze(-1)
    frames = (polar(frame[moved].to(first.left.dtype)) for frame in (rough.left, rough.right))
    begun = point(take(objective, moved), *frames)
    fallen = begun.value <= first.value[moved]
    first = put(first, moved[fallen], take(begun, fallen))
    last, more = _descend(objective, first, tol, max_sweeps - int(sweeps.max()), 0)
    return last, sweeps + more


def _descend(
    objective: Objective, first: Point, tol: float, max_sweeps: int, power_sweeps: int
) -> tuple[Point, Tensor]:
    """Accelerated sweeps in one precision; for quadratic distances none but an exact sweep ends them.

    A saddle point at which U is no top eigenspace for its V has no gradient either; an exact sweep leaves it.
    """
    last, sweeps = first, torch.zeros_like(first.value, dtype=torch.int64)
    active = (first.gradient_norm > tol).nonzero().squeeze(-1)
    if not len(active):
        return last, sweeps
    part, here = take(objective, active), take(first, active)
    anderson = Anderson(_pack(here), _MEMORY)
    for step in range(max_sweeps):
        exact = step >= power_sweeps or not objective.is_quadratic
        here, overshot = _accelerated_sweep(part, here, anderson, exact=exact)
        part = part.more_cautious(overshot)
        last = put(last, active, here)
        sweeps[active] += 1
        # converged modules leave the batch; copying it for one or two of them costs more than another sweep
        going = ((here.gradient_norm > tol) | (not exact)).nonzero().squeeze(-1)
        if not len(going):
            break
        if len(going) <= 0.8 * len(active):
            active, part, here = active[going], take(part, going), take(here, going)
            anderson.only(going)
    return last, sweeps


def _accelerated_sweep(objective: Objective, here: Point, anderson: Anderson, *, exact: bool) -> tuple[Point, Tensor]:
    """The extrapolated point, or the plain sweep where that is worse than the present one, or else the present one.

    The plain sweep is monotone where the distance's shift is a bound; the rows where it overshot are returned too.
    """
    left, right = sweep(objective, here.left, here.right, exact=exact)
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
    plain = point(take(objective, rows), left[rows], right[rows])
    overshot = plain.value > limit[rows]
    stay = overshot.nonzero().squeeze(-1)
    return put(faster, rows, put(plain, stay, take(here, rows[stay]))), rows[stay]


def _pack(at: Point) -> Tensor:
    return torch.cat([at.left.flatten(1), at.right.flatten(1)], dim=1)


def _unpack(packed: Tensor, like: Point) -> tuple[Tensor, Tensor]:
    left, right = torch.split(packed, [like.left[0].numel(), like.right[0].numel()], dim=1)
    return left.view_as(like.left), right.view_as(like.right)
