"""Core space is no approximation: RiemannianAdam in it follows the path that it follows in full space."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.core_space.problem import Problem
from lorafold.solvers import MANIFOLDS
from lorafold.solvers._solution import point
from lorafold.solvers._walk import walk
from tests import oracles
from tests.builders import Source, random_layer
from tests.builders import one_thread as one_thread
from tests.core_space.lifted import lifted, reduce_one
from tests.solvers.problems import MAIN, alternating, objective

RANKS, WIDTH = [4, 3], 4
LAYERS = [random_layer(Source(seed), 40, 30, RANKS, [0.5, 2.0]) for seed in (0, 1)]


def in_full_space() -> Problem:
    """The same updates from dense singular vectors."""
    left, right, core = [], [], []
    for case in LAYERS:
        for i, k in enumerate(RANKS):
            delta = oracles.layer_update(case, i)
            U, V = oracles.points(delta, "all")
            pad = (0, WIDTH - k)
            left.append(torch.nn.functional.pad(U, pad))
            right.append(torch.nn.functional.pad(V, pad))
            core.append(torch.nn.functional.pad(U.mT @ delta @ V, (*pad, *pad)))
    shaped = (torch.stack(side).unflatten(0, (len(LAYERS), -1)) for side in (left, right, core))
    ones = torch.ones(len(LAYERS), len(RANKS), dtype=torch.float64)
    return Problem(*shaped, torch.tensor([RANKS] * len(LAYERS)), ones)


def embedded(core: Tensor, side: int) -> Tensor:
    """Frames in core space as frames in full space."""
    batch = reduce_one(*LAYERS)
    return torch.stack([lifted(batch, row).bases[side] @ core[row] for row in range(len(LAYERS))])


def assert_same(core: Tensor, full: Tensor, side: int):
    torch.testing.assert_close(oracles.projector(embedded(core, side)), oracles.projector(full), rtol=0, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("distance", MAIN)
@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_riemannian_adam(manifold, distance, steps):
    small = objective(reduce_one(*LAYERS).problem, 4, distance=distance)
    large = objective(in_full_space(), 4, distance=distance)
    source = Source(7)
    start = source.haar(2, 7, 4), source.haar(2, 7, 4)
    rates = torch.tensor([0.05, 0.02], dtype=torch.float64)
    walked = walk(small, point(small, *start), rates, manifold, steps)
    lifted_start = tuple(embedded(frame, side) for side, frame in enumerate(start))
    followed = walk(large, point(large, *lifted_start), rates, manifold, steps)
    assert_same(walked.left, followed.left, 0)
    assert_same(walked.right, followed.right, 1)
    torch.testing.assert_close(walked.value, followed.value, rtol=0, atol=1e-10)
    torch.testing.assert_close(walked.gradient_norm, followed.gradient_norm, rtol=0, atol=1e-8)
    moved = oracles.projector(walked.left) - oracles.projector(start[0])
    assert float(moved.abs().max()) > 1e-3 * steps


@pytest.mark.parametrize("distance", MAIN)
def test_alternating(distance):
    small = objective(reduce_one(*LAYERS).problem, 4, distance=distance)
    large = objective(in_full_space(), 4, distance=distance)
    one, other = alternating(small, tol=1e-10), alternating(large, tol=1e-10)
    assert bool(one.converged.all()) and bool(other.converged.all())
    assert_same(one.left, other.left, 0)
    assert_same(one.right, other.right, 1)
    torch.testing.assert_close(one.value, other.value, rtol=0, atol=1e-12)
