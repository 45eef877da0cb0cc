"""Riemannian Adam on batched Grassmann or Stiefel parameters, from a closed form or from where Newton steps end.

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lorafold.common.batched import select_rows
from lorafold.objectives import Objective
from lorafold.solvers._bases import Bases, completed
from lorafold.solvers._registry import solver
from lorafold.solvers._settle import Descent, Progress, begin, descent, moved, settled, solution
from lorafold.solvers._solution import Method, Solution
from lorafold.solvers._walk import walk

# Steps per cycle of the learning rate.
_CYCLE = 200
# Newton steps or sweeps from each start.
_NEWTON_STEPS = 200


@solver("riemannian_adam")
def riemannian_adam(
    objective: Objective,
    *,
    manifold: str,
    tol: float,
    max_steps: int,
    learning_rate: float,
    start: str = "newton",
    starts: int | None = None,
) -> Solution:
    """geoopt's RiemannianAdam for the modules that its start leaves unconverged.

    Adam's second moment is one number per matrix, so a step moves each subspace by about the learning rate in radians
    whatever the scale of F (Bécigneul & Ganea 2019): it walks off the points at which Newton steps or sweeps linger.
    The rate follows the gradient: each cycle begins with `learning_rate` times the relative gradient norm, which is
    about the distance that is left, and falls along a cosine. A module keeps a cycle's result if its objective fell,
    otherwise it starts over with half the rate; so the result is never worse than the start.

    Args:
        manifold: a name in `MANIFOLDS`.
        tol: bound on the relative Riemannian gradient norm.
        max_steps: give up on a module after so many; it is then reported as not converged.
        learning_rate: radians per step at the start of a cycle, per unit of the relative gradient norm.
        start: "newton": where Newton steps end (sweeps, where a distance has no Hessian); "closed_form": at exact
            eigenspaces, so that Adam makes all steps.
        starts: how many (see `_starts.py`); None: enough.
    """
    down = descent(objective, tol, _NEWTON_STEPS if start == "newton" else 0)
    here = settled(objective, begin(objective, down, starts), down)
    rates = torch.full_like(here.value_start, learning_rate)
    for step in range(0, max_steps, _CYCLE):
        rows = (here.at.gradient_norm > tol).nonzero().squeeze(-1)
        if not len(rows):
            break
        here = _cycle(objective, here, rows, rates, manifold, min(_CYCLE, max_steps - step), down)
        here = settled(objective, here, down)
    return solution(here, tol)


def _cycle(
    objective: Objective, here: Progress, rows: Tensor, rates: Tensor, manifold: str, steps: int, down: Descent
) -> Progress:
    """One cycle in some rows, kept where F fell; elsewhere the rate is halved."""
    part, at = select_rows(objective, rows), select_rows(here.at, rows)
    walked = walk(part, at, rates[rows] * at.gradient_norm, manifold, steps)
    last, more = down(part, Bases(completed(walked.left), completed(walked.right)))
    better = last.value <= at.value + part.rounding
    rates[rows[~better]] /= 2
    by_adam, by_descent = better & (more == 0), better & (more > 0)
    for own, method in ((by_adam, Method.RIEMANNIAN_ADAM), (by_descent, down.method)):
        here = moved(here, rows[own], select_rows(last, own), more[own], method)
    return replace(here, steps=here.steps.index_add(0, rows, torch.full_like(more, steps)))
