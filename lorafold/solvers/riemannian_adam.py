"""Riemannian Adam on batched Grassmann or Stiefel parameters, started by a trust region or by alternating sweeps.

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

import torch

from lorafold.common.batched import scatter_rows, select_rows
from lorafold.objectives import Objective
from lorafold.solvers._bases import Bases, completed
from lorafold.solvers._registry import solver
from lorafold.solvers._settle import begin, polish
from lorafold.solvers._solution import Solution, solution
from lorafold.solvers._walk import walk

# Steps per cycle of the learning rate.
_CYCLE = 200


@solver("riemannian_adam")
def riemannian_adam(
    objective: Objective, *, manifold: str, tol: float, max_steps: int, learning_rate: float, start_steps: int
) -> Solution:
    """geoopt's RiemannianAdam for the modules that Newton steps (or sweeps, see `settle`) leave unconverged.

    Adam's second moment is one number per matrix, so a step moves each subspace by about the learning rate in radians
    whatever the scale of F (Bécigneul & Ganea 2019): it walks off the points at which those linger. Within a cycle
    the rate falls along a cosine; after it, `settle` finishes what it found. A module keeps a cycle's result if
    its objective fell, otherwise it starts over with half the rate; so the result is never worse than the start.

    Args:
        manifold: a name in `MANIFOLDS`.
        tol: bound on the relative Riemannian gradient norm.
        max_steps: give up on a module after so many; it is then reported as not converged.
        learning_rate: radians per step at the start of a cycle.
        start_steps: at most so many Newton steps or sweeps before, and after each cycle; 0 for Adam alone.
    """
    first, best, iterations = begin(objective, tol, start_steps)
    rates = torch.full_like(first.value, learning_rate)
    for step in range(0, max_steps, _CYCLE):
        rows = (best.gradient_norm > tol).nonzero().squeeze(-1)
        if not len(rows):
            break
        part, best_of_part = select_rows(objective, rows), select_rows(best, rows)
        steps = min(_CYCLE, max_steps - step)
        walked = walk(part, best_of_part, rates[rows], manifold, steps)
        polished, more = polish(part, Bases(completed(walked.left), completed(walked.right)), tol, start_steps)
        better = polished.value <= best_of_part.value
        best = scatter_rows(best, rows[better], select_rows(polished, better))
        rates[rows[~better]] /= 2
        iterations[rows] += steps + more
    return solution(best, first.value, iterations, tol)
