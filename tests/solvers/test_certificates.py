"""What a solution says of itself is true: values, gradient norms, convergence, and that it is a minimum."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lorafold.common.batched import select_rows
from lorafold.common.errors import LorafoldError
from lorafold.core_space.problem import Problem
from lorafold.objectives import DISTANCES, RECONSTRUCTIONS
from lorafold.solvers import MANIFOLDS, SOLVERS, Solution, point
from lorafold.solvers._sweep import sweep
from lorafold.solvers._sweeps import sweeps as accelerated_sweeps
from tests import oracles
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread
from tests.solvers.problems import SOLVE, adam, alternating, objective, value

DIMS = [[3, 3], [2, 5], [4, 0], [1, 6]]
WEIGHTS = [0.7, -0.2]
# Smooth where their minimisers lie, so that 1e-8 can be reached; the others saturate or have ridges.
SMOOTH = ["chordal", "phi", "geodesic", "procrustes"]
# Adam alone takes hundreds of steps.
BOTH = [*(("alternating", name) for name in SMOOTH), ("riemannian_adam", "phi")]


def problem() -> Problem:
    return full_problem(Source(0), 12, 10, DIMS, WEIGHTS)


def slope(frames: Tensor, frame: Tensor, share: Tensor, distance: str) -> Tensor:
    """Σ share_i dδ/dU written out for one module."""
    r, total = frame.shape[1], torch.zeros_like(frame)
    for padded, w in zip(frames, share, strict=True):
        X = padded[:, padded.norm(dim=0) > 0]
        Q, cos, Rt = torch.linalg.svd(X.T @ frame, full_matrices=False)
        theta = torch.arccos(cos.clamp(max=1))
        factor = {
            "chordal": -2 * cos / r,
            "phi": -2 * cos / max(1, len(cos)),
            "geodesic": -2 * torch.where(theta > 0, theta / theta.sin(), 1) / (r * math.pi**2 / 4),
            "procrustes": torch.full_like(cos, -1 / r),
        }[distance]
        total = total + w * X @ (Q * factor) @ Rt
    return total


def dense_gradient_norm(given: Problem, row: int, U: Tensor, V: Tensor, distance: str) -> float:
    """‖horizontal part‖ / ‖whole‖ of the gradient of F = distances + 1 - ‖UᵀMV‖² / ‖M‖²."""
    M = oracles.target(list(given.updates()[row]), WEIGHTS)
    M = M / torch.linalg.matrix_norm(M)
    share = torch.tensor(oracles.shares(list(given.updates()[row]), WEIGHTS)) / 2
    left = slope(given.left[row], U, share, distance) - 2 * M @ V @ V.T @ M.T @ U
    right = slope(given.right[row], V, share, distance) - 2 * M.T @ U @ U.T @ M @ V
    tangent = [left - oracles.projector(U) @ left, right - oracles.projector(V) @ right]
    return math.sqrt(sum(float(G.square().sum()) for G in tangent) / float(left.square().sum() + right.square().sum()))


def assert_honest(given: Problem, rank: int, distance: str, tol: float, found: Solution):
    F = objective(given, rank, distance=distance)
    for row, deltas in enumerate(given.updates()):
        U, V = found.left[row], found.right[row]
        expected = oracles.objective(list(deltas), WEIGHTS, U, V, distance=distance)
        assert float(found.value[row]) == pytest.approx(expected, abs=1e-12)
        strictness = math.sqrt(1 / max(expected / float(F.most[row]), 1e-10))
        norm = strictness * dense_gradient_norm(given, row, U, V, distance)
        assert float(found.gradient_norm[row]) == pytest.approx(norm, rel=1e-5, abs=1e-8)
        assert bool(found.converged[row]) == (float(found.gradient_norm[row]) <= tol)
        for frame in (U, V):
            torch.testing.assert_close(frame.mT @ frame, torch.eye(rank, dtype=U.dtype), rtol=0, atol=1e-12)
    assert bool((found.value <= found.value_start).all())


BUDGETS = {
    "no sweep": lambda F: alternating(F, max_sweeps=0),
    "one sweep": lambda F: alternating(F, max_sweeps=1),
    "one Newton step and no other": lambda F: SOLVERS["trust_region"](F, max_steps=1, tol=1e-8),
    "no sweep and three steps": lambda F: adam(F, max_steps=3, tol=1e-8),
    "enough sweeps": alternating,
}


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("distance", SMOOTH)
def test_value_gradient_and_convergence_are_what_dense_formulas_say(distance, budget):
    given = problem()
    found = BUDGETS[budget](objective(given, 3, distance=distance))
    assert_honest(given, 3, distance, 1e-8, found)
    alone = torch.tensor([0 in row for row in DIMS])  # of one adapter the start is the solution
    assert bool(found.converged[alone].all())
    assert bool(found.converged[~alone].all()) is (budget == "enough sweeps")
    if not bool(found.converged.all()) and budget != "one Newton step and no other":  # that goes far
        assert float(found.gradient_norm.max()) > 1e-3


def test_iterations_count_and_stop_at_the_limit():
    F = objective(problem(), 3)
    for limit in (0, 1, 3):
        assert alternating(F, max_sweeps=limit).iterations.tolist() == [limit, limit, 0, limit]
    assert adam(F, max_steps=7, tol=1e-8).iterations.tolist() == [7, 7, 0, 7]
    enough = alternating(F)
    assert bool((enough.iterations < 100).all()) and bool(enough.converged.all())


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("distance", [*SMOOTH, "martin"])
def test_sweeps_never_raise_the_objective(distance, reconstruction):
    F = objective(problem(), 3, distance=distance, reconstruction=reconstruction)
    for seed in range(5):
        left, right = Source(seed).haar(4, 12, 3), Source(seed + 9).haar(4, 10, 3)
        before = value(F, left, right)
        for _ in range(6):
            left, right = sweep(F, left, right)
            after = value(F, left, right)
            assert bool((after <= before + 1e-14).all())
            before = after


@pytest.mark.parametrize("distance", SMOOTH)
def test_more_sweeps_are_never_worse_than_the_start(distance):
    F = objective(problem(), 3, distance=distance)
    for count in range(12):
        found = alternating(F, max_sweeps=count)
        assert bool((found.value <= found.value_start + 1e-14).all())


@pytest.mark.parametrize("distance", [name for name in DISTANCES if name not in SMOOTH])
def test_the_others_descend_far_and_say_whether_they_arrived(distance):
    found = adam(objective(problem(), 3, distance=distance), tol=1e-4, max_steps=600, start="newton")
    assert bool((found.value <= found.value_start).all()) and bool((found.value < found.value_start).any())
    assert torch.equal(found.converged, found.gradient_norm <= 1e-4)
    again = point(objective(problem(), 3, distance=distance), found.left, found.right)
    torch.testing.assert_close(again.gradient_norm, found.gradient_norm, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("manifold", MANIFOLDS)
@pytest.mark.parametrize("learning_rate", [0.02, 0.5, 50.0])
def test_adam_is_never_worse_than_its_start(manifold, learning_rate):
    F = objective(problem(), 3)
    found = adam(F, manifold=manifold, learning_rate=learning_rate, max_steps=15)
    assert bool((found.value <= found.value_start).all())
    assert_honest(problem(), 3, "chordal", 1e-6, found)


@pytest.mark.parametrize(("manifold", "distance"), [*((name, "phi") for name in MANIFOLDS), ("grassmann", "geodesic")])
def test_adam_alone_reaches_the_same_minimum(manifold, distance):
    F = objective(full_problem(Source(0), 9, 8, [[3, 3], [2, 5]]), 2, distance=distance)
    by_steps, by_sweeps = adam(F, manifold=manifold, max_steps=1000), alternating(F)
    assert bool(by_steps.converged.all()) and bool((by_steps.iterations > 0).all())
    torch.testing.assert_close(by_steps.value, by_sweeps.value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("distance", SMOOTH)
def test_no_displaced_point_is_better(distance, reconstruction):
    given = problem()
    F = objective(given, 3, distance=distance, reconstruction=reconstruction)
    best = alternating(F)
    assert bool(best.converged.all())
    for size in (1e-4, 1e-2, 0.3):
        for seed in range(10):
            source = Source(seed)
            left = torch.linalg.qr(best.left + size * source.normal(*best.left.shape))[0]
            right = torch.linalg.qr(best.right + size * source.normal(*best.right.shape))[0]
            assert bool((value(F, left, right) > best.value).all())


@pytest.mark.parametrize(("solver", "distance"), BOTH)
def test_a_batch_is_solved_as_each_of_its_modules_alone(solver, distance):
    F = objective(problem(), 3, distance=distance)
    together = SOLVE[solver](F)
    for row in range(len(DIMS)):
        alone = SOLVE[solver](select_rows(F, torch.tensor([row])))
        assert float(alone.value) == pytest.approx(float(together.value[row]), abs=1e-8)
        for one, other in ((alone.left[0], together.left[row]), (alone.right[0], together.right[row])):
            torch.testing.assert_close(oracles.projector(one), oracles.projector(other), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("solver", "distance"), BOTH)
def test_modules_without_any_update_are_solved_at_once(solver, distance):
    F = objective(full_problem(Source(0), 9, 8, [[0, 0], [3, 3]]), 2, distance=distance)
    found = SOLVE[solver](F)
    assert found.value[0] == 0 and found.gradient_norm[0] == 0
    assert bool(found.converged.all()) and found.iterations[0] == 0
    torch.testing.assert_close(found.left.mT @ found.left, torch.eye(2, dtype=torch.float64).expand(2, 2, 2))


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6, 1e20])
def test_certificates_do_not_depend_on_the_scale_of_the_updates(scale):
    given = problem()
    scaled = Problem(given.left, given.right, scale * given.core, given.dims, given.weights)
    one, other = (alternating(objective(case, 3)) for case in (given, scaled))
    assert bool(other.converged.all())
    torch.testing.assert_close(other.value, one.value, rtol=0, atol=1e-12)


def test_a_full_history_is_reused_and_a_restart_forgets_it():
    """More sweeps than Anderson's memory holds, from a start far off, still end in the minimum."""
    F = objective(problem(), 3, distance="geodesic")
    far = point(F, Source(5).haar(4, 12, 3), Source(6).haar(4, 10, 3))
    found, sweeps = accelerated_sweeps(F, far, 1e-8, 500)
    assert bool((found.gradient_norm <= 1e-8).all()) and int(sweeps.max()) > 6
    assert bool((found.value <= far.value).all())


def test_an_unknown_manifold_is_named():
    with pytest.raises(LorafoldError, match=r"unknown manifold 'sphere'.*grassmann, grassmann_exact, stiefel"):
        adam(objective(problem(), 3), manifold="sphere")
