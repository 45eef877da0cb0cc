"""Closed Hessians against second differences of F along geodesics, and the model against F itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.core_space.problem import Problem
from lorafold.objectives import DISTANCES, RECONSTRUCTIONS, Objective, build
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread

DIMS = [[3, 3], [2, 5], [4, 0], [1, 6]]
CURVED = ["chordal", "phi", "geodesic", "procrustes", "martin"]
STEP, SMALL = 1e-4, 1e-5


def problem() -> Problem:
    return full_problem(Source(0), 9, 8, DIMS, [0.7, -0.3])


def make(distance: str, reconstruction: str, rank: int) -> tuple[Objective, Tensor, Tensor]:
    """An objective on 9 x 8 matrices and random whole bases."""
    source = Source(rank)
    options = {"subspace_weight": 0.8, "reconstruction_weight": 1.3, "rescale": 0.4, "directions": "all"}
    F = build(problem(), rank, distance=distance, reconstruction=reconstruction, **options)
    return F, source.haar(len(DIMS), 9, 9), source.haar(len(DIMS), 8, 8)


def along_geodesic(basis: Tensor, step: Tensor) -> Tensor:
    """U at the end of the geodesic with tangent U⊥K, by the exponential of [[0, -Kᵀ], [K, 0]]."""
    rank = step.shape[-1]
    turn = basis.new_zeros(basis.shape)
    turn[:, rank:, :rank], turn[:, :rank, rank:] = step, -step.mT
    return (basis @ torch.linalg.matrix_exp(turn))[..., :rank]


def moved(F: Objective, X: Tensor, Y: Tensor, step: Tensor) -> Tensor:
    rows = X.shape[-1] - F.rank
    return F.evaluate(along_geodesic(X, step[:, :rows]), along_geodesic(Y, step[:, rows:])).value


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2))


def test_which_distances_have_a_hessian():
    assert [name for name in DISTANCES if make(name, "mean", 2)[0].is_curved] == [n for n in DISTANCES if n in CURVED]


@pytest.mark.parametrize("rank", [1, 3, 7, 8])
@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("distance", CURVED)
def test_model_has_the_value_slope_and_bend_of_F_along_geodesics(distance, reconstruction, rank):
    F, X, Y = make(distance, reconstruction, rank)
    model = F.expand(X, Y)
    at = F.evaluate(X[..., :rank], Y[..., :rank])
    torch.testing.assert_close(model.value, at.value, rtol=1e-13, atol=1e-13)
    for seed in range(3):
        step = Source(seed).normal(*model.gradient.shape)
        slope = (moved(F, X, Y, SMALL * step) - moved(F, X, Y, -SMALL * step)) / (2 * SMALL)
        torch.testing.assert_close(slope, dot(model.gradient, step), rtol=1e-6, atol=1e-7)
        ahead, behind = moved(F, X, Y, STEP * step), moved(F, X, Y, -STEP * step)
        bend = (ahead - 2 * at.value + behind) / STEP**2
        torch.testing.assert_close(bend, dot(step, model.hessian(step)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("distance", CURVED)
def test_hessian_is_symmetric_and_linear(distance, reconstruction):
    F, X, Y = make(distance, reconstruction, 3)
    model = F.expand(X, Y)
    one, other = (Source(seed).normal(*model.gradient.shape) for seed in (1, 2))
    torch.testing.assert_close(dot(one, model.hessian(other)), dot(other, model.hessian(one)), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(
        model.hessian(one + 2 * other), model.hessian(one) + 2 * model.hessian(other), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("distance", CURVED)
def test_hessian_at_equal_angles_zero_angles_and_right_angles(distance):
    """Where difference quotients are 0 / 0: two adapters with one subspace, seen from it and from beside it."""
    source = Source(5)
    frame = source.haar(1, 9, 6)
    right = source.haar(1, 8, 5)
    shared = Problem(
        torch.stack([frame[..., :3]] * 2, 1),
        torch.stack([right[..., :3]] * 2, 1),
        torch.diag_embed(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)).expand(1, 2, 3, 3).clone(),
        torch.tensor([[3, 3]]),
        torch.tensor([[0.5, 0.5]], dtype=torch.float64),
    )
    options = {"subspace_weight": 1.0, "reconstruction_weight": 1.0, "rescale": 0.0, "directions": "all"}
    F = build(shared, 3, distance=distance, reconstruction="mean", **options)
    for columns in ([0, 1, 2], [0, 1, 3], [3, 4, 5]):
        rest = torch.linalg.qr(frame[..., columns], mode="complete").Q[..., 3:]
        X = torch.cat([frame[..., columns], rest], -1)
        Y = torch.linalg.qr(right[..., [0, 1, 2]], mode="complete").Q
        model = F.expand(X, Y)
        product = model.hessian(Source(1).normal(*model.gradient.shape))
        assert bool(product.isfinite().all()) and bool(model.gradient.isfinite().all())
