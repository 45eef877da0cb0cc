"""Riemannian trust region in core space: Newton steps with closed Hessians (Absil, Baker & Gallivan 2007).

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lorafold.common.batched import map_tensors, scatter_rows, scatter_rows_, select_rows
from lorafold.common.cuda_graph import Replayed
from lorafold.objectives import Model, Objective, split
from lorafold.solvers._bases import Bases, orthonormalised, turned
from lorafold.solvers._conjugate_gradients import Step, newton_step, preconditioner
from lorafold.solvers._solution import Point, point

# Products with the Hessian per Newton step.
_PRODUCTS = 8
# The first radius, in lengths of the preconditioned gradient.
FIRST_RADIUS = 3.0
# A step is taken if F falls by the first part of what the model says; the radius shrinks below the second part and may
# grow above the third.
_TAKEN, _POOR, _GOOD = 0.05, 0.25, 0.75
# Of the modules, those that have not converged yet leave the others when they are no more than this part of them. A new
# batch is new shapes, for which a GPU records a step anew, 14 to 23 ms on an H200: too dear where the bases are no more
# numbers than this.
_WORTH_COPYING = {"cpu": 0.8, "cuda": 0.25}
_WORTH_RECORDING = 4_000_000
# Relative gradient norm that float32 reaches.
_COARSE = 3e-5
# ‖(K, L)‖ of a step at most: tangents of angles. What is longer would lose digits in the retraction, or lead astray.
LONGEST = 10.0


@dataclass(frozen=True)
class _State:
    bases: Bases
    model: Model
    radius: Tensor  # in the norm of the preconditioner (b,)


def approach(objective: Objective, bases: Bases, max_steps: int) -> tuple[Bases, Tensor]:
    """Newton steps as far as float32 tells one point from another, at half the price; and how many (b,).

    Where F is too large for float32, or too small beside the sums that it is a difference of, they end where they are.

    Args:
        objective: quadratic; other distances divide by differences of cosines that float32 does not know.
    """
    last, steps = descend(map_tensors(objective, Tensor.float), map_tensors(bases, Tensor.float), _COARSE, max_steps)
    return Bases(orthonormalised(last.left.double()), orthonormalised(last.right.double())), steps


def descend(objective: Objective, bases: Bases, tol: float, max_steps: int, least: int = 0) -> tuple[Point, Tensor]:
    """Newton steps from `bases`; the last point of every module and its number of steps (b,).

    F never rises, and saddle points are left along directions of negative curvature. F and its gradient are in the
    precision of the objective; a step is found in float32, twice as fast as in float64: it needs a direction of descent
    and few digits, as every step corrects the one before.

    Args:
        objective: with `is_curved`.
        bases: where to start.
        tol: bound on the relative Riemannian gradient norm.
        max_steps: give up on a module after so many.
        least: take so many in any case: the last one squares the error, so that the point depends on its start no more.
    """
    here, whole = _begin(objective, bases), objective
    last, steps = _point(here, objective.rank), torch.zeros_like(here.radius, dtype=torch.int64)
    active = torch.arange(len(steps), device=steps.device)
    # other distances factorise overlaps, which cannot be recorded: of their steps what finds the direction is
    search = Replayed(_in_single, wanted=not objective.is_quadratic)
    step = Replayed(partial(_stepped, search=search, tol=tol), feeds=1, wanted=objective.is_quadratic)
    for count in range(max_steps):
        going = ((here.model.gradient_norm > tol) | (count < least)).nonzero().squeeze(-1)
        # copying the batch for one or two modules that have converged costs more than another step of theirs
        if len(going) <= _that_leave(here.bases, objective.is_quadratic) * len(active):
            last = scatter_rows(last, active, _point(here, objective.rank))
            active, objective, here = active[going], select_rows(objective, going), select_rows(here, going)
            going = torch.arange(len(going), device=going.device)
        if not len(going):
            return _evaluated(whole, last), steps
        here = step(objective, here)
        steps[active[going]] += 1
    return _evaluated(whole, scatter_rows(last, active, _point(here, objective.rank))), steps


def _that_leave(bases: Bases, is_recorded: bool) -> float:
    """Of the modules, how many may still be under way when they leave the others."""
    if not bases.left.is_cuda:
        return _WORTH_COPYING["cpu"]
    return 0.0 if is_recorded and bases.left.numel() <= _WORTH_RECORDING else _WORTH_COPYING["cuda"]


def _evaluated(objective: Objective, at: Point) -> Point:
    """The point; what was recorded on a GPU is not believed for its own certificate."""
    return point(objective, at.left, at.right) if at.value.is_cuda else at


def _begin(objective: Objective, bases: Bases) -> _State:
    model = objective.expand(bases.left, bases.right)
    length = (model.gradient.square() / preconditioner(model)).sum((1, 2)).sqrt()
    return _State(bases, model, FIRST_RADIUS * length)


def _stepped(objective: Objective, here: _State, search: Callable[[Model, Tensor], Step], tol: float) -> _State:
    """One step where the objective agrees with the model, and the next radius; on a GPU none where `tol` is reached."""
    step = search(here.model, here.radius)
    rows = here.bases.left.shape[-1] - objective.rank
    length = torch.linalg.vector_norm(step.move, dim=(1, 2), keepdim=True)
    K, L = split(step.move * (LONGEST / length.clamp_min(LONGEST)), rows)
    bases = Bases(turned(here.bases.left, K), turned(here.bases.right, L))
    there = _State(bases, objective.expand(bases.left, bases.right), here.radius)
    taken, radius = _judged(step, here, there, objective.rounding)
    if taken.is_cuda:
        there = _chosen(taken & (here.model.gradient_norm > tol), there, here)
    elif not bool(taken.all()):
        back = (~taken).nonzero().squeeze(-1)
        there = scatter_rows_(there, back, select_rows(here, back))
    return _State(there.bases, there.model, radius)


def _chosen(taken: Tensor, there: _State, here: _State) -> _State:
    """`there` where it is taken, without asking a GPU whether that is everywhere."""
    return map_tensors(
        there, lambda new, old: torch.where(taken.view(-1, *[1] * (new.dim() - 1)), new, old.to(new.dtype)), here
    )


def _in_single(model: Model, radius: Tensor) -> Step:
    single = map_tensors(model, Tensor.float)
    step = newton_step(single, preconditioner(single), radius.float(), _PRODUCTS)
    own = model.value.dtype
    return Step(step.move.to(own), step.decrease.to(own), step.at_edge)


def _judged(step: Step, here: _State, there: _State, rounding: Tensor) -> tuple[Tensor, Tensor]:
    """Whether to take each step (b,), and the next radius (b,). Decreases below `rounding` count as agreeing."""
    return judged(step, here.model.value - there.model.value, here.radius, rounding)


def judged(step: Step, decrease: Tensor, radius: Tensor, rounding: Tensor) -> tuple[Tensor, Tensor]:
    """The same from what F decreased by (b,), and the radius so far."""
    agreement = (decrease + rounding) / (step.decrease + rounding)
    radius = torch.where(agreement >= _POOR, radius, radius / 4)  # NaN, from float32's limits, is poor
    radius = torch.where((agreement > _GOOD) & step.at_edge, 2 * radius, radius)
    return agreement > _TAKEN, radius


def _point(here: _State, rank: int) -> Point:
    left, right = here.bases.left[..., :rank], here.bases.right[..., :rank]
    return Point(left, right, here.model.value, here.model.gradient_norm)
