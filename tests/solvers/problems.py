"""Objectives to solve, and the solvers with options that suit tests."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lorafold.core_space.problem import Problem
from lorafold.objectives import Objective, build
from lorafold.solvers import SOLVERS, Solution

OPTIONS = {
    "subspace_weight": 1.0,
    "reconstruction_weight": 1.0,
    "distance": "chordal",
    "reconstruction": "mean",
    "rescale": 0.0,
    "directions": "all",
}

# The distances with closed forms to compare with.
MAIN = ("chordal", "phi", "geodesic")


def objective(problem: Problem, rank: int, **options: Any) -> Objective:
    return build(problem, rank, **{**OPTIONS, **options})


def alternating(F: Objective, *, tol: float = 1e-8, max_sweeps: int = 500) -> Solution:
    return SOLVERS["alternating"](F, tol=tol, max_sweeps=max_sweeps)


def adam(F: Objective, **options: Any) -> Solution:
    """Adam alone unless `start` says otherwise."""
    defaults = {"manifold": "grassmann", "tol": 1e-6, "max_steps": 2000, "learning_rate": 10.0, "start": "closed_form"}
    return SOLVERS["riemannian_adam"](F, **{**defaults, **options})


SOLVE = {"alternating": alternating, "riemannian_adam": adam}


def value(F: Objective, left: Tensor, right: Tensor) -> Tensor:
    return F.evaluate(left, right).value
