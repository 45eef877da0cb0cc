"""Riemannian Adam on batched Grassmann or Stiefel parameters, started from the alternating solver.

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lorafold.batch import put, take
from lorafold.objectives import Objective
from lorafold.solvers._alternating import alternating
from lorafold.solvers._manifolds import manifold as manifold_of
from lorafold.solvers._registry import solver
from lorafold.solvers._solution import Point, Solution, point

# Steps between two looks at the objective.
_STRIDE = 10


@solver("riemannian_adam")
def riemannian_adam(
    objective: Objective, *, manifold: str, tol: float, max_steps: int, learning_rate: float, start_sweeps: int
) -> Solution:
    """geoopt's RiemannianAdam for the modules that the alternating solver leaves unconverged.

    Adam's second moment is one number per matrix, so a step moves each subspace by about `learning_rate` radians
    whatever the scale of F (Bécigneul & Ganea 2019). Every few steps a module whose objective has risen goes back to
    its best point with half the learning rate; so the result is never worse than the start.

    Args:
        manifold: a name in `MANIFOLDS`.
        tol: bound on the relative Riemannian gradient norm.
        max_steps: give up on a module after so many; it is then reported as not converged.
        learning_rate: radians per step at the start.
        start_sweeps: at most so many alternating sweeps before.
    """
    begun = alternating(objective, tol=tol, max_sweeps=start_sweeps)
    open_rows = (~begun.converged).nonzero().squeeze(-1)
    if not len(open_rows) or not max_steps:
        return begun
    best, steps = _descend(take(objective, open_rows), take(begun, open_rows), manifold, tol, max_steps, learning_rate)
    found = replace(
        take(begun, open_rows),
        left=best.left,
        right=best.right,
        value=best.value,
        gradient_norm=best.gradient_norm,
        iterations=begun.iterations[open_rows] + steps,
        converged=best.gradient_norm <= tol,
    )
    return put(begun, open_rows, found)


def _descend(
    objective: Objective, begun: Solution, manifold: str, tol: float, max_steps: int, learning_rate: float
) -> tuple[Point, Tensor]:
    """The best point of every module and the steps that it took.  (b,)"""
    best = Point(begun.left, begun.right, begun.value, begun.gradient_norm)
    steps = torch.zeros_like(begun.iterations)
    active = torch.arange(len(steps), device=steps.device)
    rates = torch.full_like(begun.value, learning_rate)[:, None, None]
    walk = _Walk(objective, best, rates, manifold)
    for _ in range(0, max_steps, _STRIDE):
        here = walk.stride()
        known = take(best, active)
        better = here.value <= known.value
        best = put(best, active[better], take(here, better))
        steps[active] += _STRIDE
        walk.restart(~better, known)
        going = torch.where(better, here.gradient_norm, known.gradient_norm) > tol
        if not bool(going.any()):
            break
        if int(going.sum()) <= 0.8 * len(active):
            active = active[going]
            walk = walk.only(going)
    return best, steps


class _Walk:
    """The optimiser with its parameters: the one place of mutable state."""

    def __init__(self, objective: Objective, at: Point, rates: Tensor, manifold: str) -> None:
        from geoopt import ManifoldParameter
        from geoopt.optim import RiemannianAdam

        self.objective, self.rates, self.manifold = objective, rates, manifold
        space = manifold_of(manifold)
        self.left = ManifoldParameter(at.left.clone(), manifold=space)
        self.right = ManifoldParameter(at.right.clone(), manifold=space)
        self.optimizer = RiemannianAdam([self.left, self.right], lr=1.0)
        self.optimizer.param_groups[0]["lr"] = rates  # (b, 1, 1): one learning rate per module

    def stride(self) -> Point:
        """_STRIDE steps with closed gradients."""
        for _ in range(_STRIDE):
            evaluation = self.objective.evaluate(self.left.detach(), self.right.detach())
            self.left.grad, self.right.grad = evaluation.left, evaluation.right
            self.optimizer.step()
        return point(self.objective, self.left.detach(), self.right.detach())

    def restart(self, where: Tensor, at: Point) -> None:
        """Put the modules `where` back to `at`, without momentum, at half the learning rate."""
        mask = where[:, None, None]
        self.rates.mul_(torch.where(mask, 0.5, 1.0))
        with torch.no_grad():
            for parameter, value in ((self.left, at.left), (self.right, at.right)):
                parameter.copy_(torch.where(mask, value, parameter))
                self.optimizer.state[parameter]["exp_avg"].mul_(~mask)

    def only(self, rows: Tensor) -> _Walk:
        """The walk of some modules, with their momentum."""
        here = Point(self.left.detach()[rows], self.right.detach()[rows], self.rates, self.rates)
        walk = _Walk(take(self.objective, rows), here, self.rates[rows], self.manifold)
        for old, new in ((self.left, walk.left), (self.right, walk.right)):
            state = self.optimizer.state[old]
            walk.optimizer.state[new] = {k: v[rows] if isinstance(v, Tensor) else v for k, v in state.items()}
        return walk
