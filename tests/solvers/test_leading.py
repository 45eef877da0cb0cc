"""Large problems through their leading subspaces: the minima, bounds and Hessians of the whole sides, for less."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.common.batched import select_rows
from lorafold.solvers import SOLVERS, _leading, _thin
from lorafold.solvers._bases import in_bases, turn_to
from lorafold.solvers._solution import point
from lorafold.solvers._starts import forms
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread
from tests.solvers.problems import objective

RANK, P, Q, COUNT = 3, 48, 40, 16
TIGHT = 1e-8


def sixteen(*, same=False, **options):
    """Two modules of sixteen adapters of ranks 3 and 2, one of which the second module lacks."""
    dims = [[3] * COUNT, [2] * (COUNT - 1) + [0]]
    problem = full_problem(Source(0), P, Q, dims)
    if same:
        problem.left[:] = problem.left[:, :1].clone()
        problem.right[:] = problem.right[:, :1].clone()
    return objective(problem, RANK, **options)


@pytest.fixture
def small_counts_as_large(monkeypatch):
    monkeypatch.setattr(_leading, "_LARGE", 8)


def solve(F, tol=TIGHT):
    return SOLVERS["riemannian_adam"](F, manifold="grassmann", tol=tol, max_steps=1000, learning_rate=10.0)


@pytest.mark.parametrize("options", [{}, {"distance": "phi"}, {"subspace_weight": 0.0}])
def test_the_same_minimum_as_on_the_whole_sides_or_a_lower_one(monkeypatch, options):
    F = sixteen(**options)
    assert not _leading.is_large(F)
    whole = solve(F)
    monkeypatch.setattr(_leading, "_LARGE", 8)
    assert _leading.is_large(F)
    found = solve(F)
    assert bool(found.converged.all())
    assert bool((found.value <= whole.value * (1 + 1e-9) + F.rounding).all())
    assert found.bound is not None
    assert whole.bound is not None
    assert bool((found.value >= found.bound - F.rounding).all())
    torch.testing.assert_close(found.bound, whole.bound, rtol=3e-5, atol=1e-12)
    assert bool((found.bound <= whole.bound + F.rounding).all())


@pytest.mark.parametrize("options", [{}, {"reconstruction": "each"}, {"reconstruction_weight": 0.0}, {"same": True}])
def test_the_bound_is_never_above_that_of_all_eigenvalues(small_counts_as_large, options):
    """Where many eigenvalues are equal, too: there they are computed after all."""
    F = sixteen(**options)
    exact = forms(F).bound
    found = _leading.bound(F, _leading.leading(F))
    assert bool((found <= exact + F.rounding).all())
    torch.testing.assert_close(found, exact, rtol=3e-5, atol=1e-12)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_either_term_alone_is_an_eigenvalue_problem(small_counts_as_large, weights):
    F = sixteen(subspace_weight=weights[0], reconstruction_weight=weights[1])
    found = solve(F)
    if weights[1]:
        sigma = torch.linalg.svdvals(F.targets[:, 0])
        least = sigma[:, RANK:].square().sum(-1)
    else:
        sides = (F.left, F.right)
        least = F.most - sum(torch.linalg.eigvalsh(side.form)[:, -RANK:].sum(-1) for side in sides)
    torch.testing.assert_close(found.value, least, rtol=1e-9, atol=1e-12)


def test_products_with_the_hessian_are_those_in_whole_bases():
    for options in ({}, {"reconstruction": "each"}):
        F = sixteen(**options)
        U, V = Source(1).haar(2, P, RANK), Source(2).haar(2, Q, RANK)
        left, right = turn_to(U), turn_to(V)
        model = in_bases(F, left, right).expand_here()
        X, Y = (turn(torch.eye(size, dtype=U.dtype).expand(2, -1, -1)) for turn, size in ((left, P), (right, Q)))
        same = F.expand(X, Y)
        torch.testing.assert_close(model.gradient, same.gradient, rtol=0, atol=1e-12)
        step = Source(3).normal(2, P + Q - 2 * RANK, RANK)
        thin = _thin.ThinModel(F, _thin.thin(F, U, V))
        expected = same.hessian(step)
        K, L = X[..., RANK:] @ step[:, : P - RANK], Y[..., RANK:] @ step[:, P - RANK :]
        found = thin.hessian(torch.cat([K, L], 1))
        seen = torch.cat([X[..., RANK:].mT @ found[:, :P], Y[..., RANK:].mT @ found[:, P:]], 1)
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12)
        at = point(F, U, V)
        torch.testing.assert_close(thin.at.value, at.value, rtol=1e-13, atol=0)
        torch.testing.assert_close(thin.gradient_norm, at.gradient_norm, rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [7, 40])
def test_what_turns_to_a_frame_is_orthogonal_and_begins_with_it(size):
    frame = torch.cat([Source(4).haar(3, size, 3), torch.eye(size, 3, dtype=torch.float64).flip(0)[None]])
    turn = turn_to(frame)
    basis = turn(torch.eye(size, dtype=torch.float64).expand(4, -1, -1))
    torch.testing.assert_close(basis[..., :3], frame, rtol=0, atol=1e-14)
    torch.testing.assert_close(
        basis.mT @ basis, torch.eye(size, dtype=torch.float64).expand(4, -1, -1), rtol=0, atol=1e-13
    )


def test_a_module_does_not_depend_on_its_batch(small_counts_as_large):
    F = sixteen()
    together = solve(F)
    for row in range(2):
        alone = solve(select_rows(F, torch.tensor([row])))
        torch.testing.assert_close(projector(alone.left[0]), projector(together.left[row]), rtol=0, atol=1e-6)


def test_with_targets_of_their_own_adapters_are_merged_on_the_whole_sides(small_counts_as_large):
    assert not _leading.is_large(sixteen(reconstruction="each"))


def test_adapters_that_are_all_the_same_are_kept_whole(small_counts_as_large):
    found = solve(sixteen(same=True, reconstruction_weight=0.0), tol=1e-5)
    torch.testing.assert_close(found.value, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-9)


def projector(frame: Tensor) -> Tensor:
    return frame @ frame.mT
