"""One cycle of geoopt's RiemannianAdam on batched Grassmann or Stiefel parameters.

b = modules.
"""

from __future__ import annotations

import math

from torch import Tensor

from lorafold.objectives import Objective
from lorafold.solvers._adam_graph import AdamCycle
from lorafold.solvers._manifolds import manifold as manifold_of
from lorafold.solvers._solution import Point, point


def walk(objective: Objective, at: Point, rates: Tensor, manifold: str, steps: int) -> Point:
    """Steps with closed gradients from `at`, with one learning rate per module (b,) that falls along a cosine."""
    # what factorises matrices in a step asks the host whether it went well, and cannot be recorded
    if rates.is_cuda and manifold == "grassmann" and objective.is_quadratic:
        recorded = AdamCycle(objective, at, rates, steps).run()
        if recorded is not None:
            return recorded
    return _walk_with_geoopt(objective, at, rates, manifold, steps)


def _walk_with_geoopt(objective: Objective, at: Point, rates: Tensor, manifold: str, steps: int) -> Point:
    # imported here: most merges converge before they need it
    from geoopt import ManifoldParameter
    from geoopt.optim import RiemannianAdam

    space = manifold_of(manifold)
    left, right = (ManifoldParameter(frame.clone(), manifold=space) for frame in (at.left, at.right))
    optimizer = RiemannianAdam([left, right], lr=1.0)
    for step in range(steps):
        evaluation = objective.evaluate(left.detach(), right.detach())
        left.grad, right.grad = evaluation.left, evaluation.right
        falling = (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = (falling * rates)[:, None, None]
        optimizer.step()
    return point(objective, left.detach(), right.detach())
