"""Where the minimiser is known in closed form, every solver must find it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.core_space.problem import Problem
from tests import oracles
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread
from tests.solvers.problems import SOLVE, adam, alternating, objective

DIMS = [[3, 3], [2, 5], [4, 0], [1, 6]]
WEIGHTS = [0.7, -0.2]


def problem() -> Problem:
    return full_problem(Source(0), 12, 10, DIMS, WEIGHTS)


def assert_same_span(found: Tensor, expected: Tensor, tolerance: float = 1e-8):
    torch.testing.assert_close(oracles.projector(found), oracles.projector(expected), rtol=0, atol=tolerance)


def assert_leading_eigenspace(frame: Tensor, form: Tensor, tolerance: float = 1e-8):
    """The r largest eigenvalues are attained, by their eigenvectors where a gap singles those out."""
    r = frame.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(form)
    assert float((frame.T @ form @ frame).trace()) == pytest.approx(float(eigenvalues[-r:].sum()), abs=1e-11)
    if eigenvalues[-r] - eigenvalues[-r - 1] > 1e-6:
        assert_same_span(frame, vectors[:, -r:], tolerance)


@pytest.mark.parametrize("solver", SOLVE)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_chordal_alone_is_the_leading_eigenspace_of_the_mean_projector(rank, solver):
    given = problem()
    found = SOLVE[solver](objective(given, rank, reconstruction_weight=0.0))
    assert bool(found.converged.all()) and int(found.iterations.max()) == 0  # the start is it
    for row, deltas in enumerate(given.updates()):
        shares = oracles.shares(list(deltas), WEIGHTS)
        spaces = [oracles.points(delta, "all") for delta in deltas]
        for side, frame in enumerate((found.left[row], found.right[row])):
            mean = sum(w * oracles.projector(space[side]) for w, space in zip(shares, spaces, strict=True))
            assert_leading_eigenspace(frame, mean)


@pytest.mark.parametrize("solver", SOLVE)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_phi_alone_is_that_of_the_projectors_over_their_ranks(rank, solver):
    given = problem()
    found = SOLVE[solver](objective(given, rank, distance="phi", reconstruction_weight=0.0))
    assert bool(found.converged.all())
    for row, deltas in enumerate(given.updates()):
        shares = oracles.shares(list(deltas), WEIGHTS)
        spaces = [oracles.points(delta, "all")[0] for delta in deltas]
        ranks = [max(1, min(rank, X.shape[1])) for X in spaces]
        mean = sum(w / k * oracles.projector(X) for w, k, X in zip(shares, ranks, spaces, strict=True))
        assert_leading_eigenspace(found.left[row], mean, 1e-8 if solver == "alternating" else 1e-5)


@pytest.mark.parametrize("solver", SOLVE)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_mean_reconstruction_alone_is_the_truncated_svd_of_the_sum(rank, solver):
    """Eckart & Young."""
    given = problem()
    found = SOLVE[solver](objective(given, rank, subspace_weight=0.0))
    assert bool(found.converged.all()) and int(found.iterations.max()) == 0
    for row, deltas in enumerate(given.updates()):
        total = oracles.target(list(deltas), WEIGHTS)
        kept = oracles.projector(found.left[row]) @ total @ oracles.projector(found.right[row])
        assert oracles.relative(kept, oracles.truncations(total, [rank])[0]) < 1e-12
        sigma = torch.linalg.svdvals(total).square()
        assert float(found.value[row]) == pytest.approx(float(sigma[rank:].sum() / sigma.sum()), abs=1e-14)


@pytest.mark.parametrize("second", [0.5, 0.3, 0.1, 0.0])
@pytest.mark.parametrize("angles", [[0.3, 0.9], [0.7, 0.7], [0.01, 1.5], [0.0, 1.2]], ids=str)
def test_geodesic_alone_is_a_point_of_the_geodesic(angles, second):
    """Between two subspaces of one dimension, at the fraction of the second's weight; 1/2 is the midpoint."""
    first, theta = 1 - second, torch.tensor(angles, dtype=torch.float64)
    frames = []
    for seed in (0, 1):  # the left and the right side, with different angles
        basis, at = Source(seed).haar(9, 4), theta * (1 - 0.3 * seed)
        between = [basis[:, :2] * (t * at).cos() + basis[:, 2:] * (t * at).sin() for t in (0.0, 1.0, second)]
        frames.append(between)
    left, right = (torch.stack(side[:2])[None] for side in frames)
    core = Source(2).normal(1, 2, 2, 2)
    given = Problem(left, right, core, torch.tensor([[2, 2]]), torch.tensor([[first, second]], dtype=torch.float64))
    found = alternating(objective(given, 2, distance="geodesic", reconstruction_weight=0.0), max_sweeps=2000)
    assert bool(found.converged.all())
    assert_same_span(found.left[0], frames[0][2], 1e-7)
    assert_same_span(found.right[0], frames[1][2], 1e-7)
    scale = first * second / (2 * torch.pi**2 / 4) / 2
    expected = float(scale * ((theta**2).sum() + ((0.7 * theta) ** 2).sum()))
    assert float(found.value) == pytest.approx(expected, rel=1e-10, abs=1e-15)


def test_adam_finds_it_too():
    given = full_problem(Source(3), 9, 8, [[2, 2]], [0.8, 0.2])
    geodesic = objective(given, 2, distance="geodesic", reconstruction_weight=0.0)
    found, expected = adam(geodesic), alternating(geodesic)
    assert bool(found.converged.all()) and int(found.iterations) > 0
    assert_same_span(found.left, expected.left, 1e-5)


@pytest.mark.parametrize("solver", SOLVE)
def test_geodesic_between_orthogonal_subspaces(solver):
    """Adapters on disjoint rows, as of the parts of a fused projection: every best point is halfway, at (π/4)² of
    (π/2)² to each. θ² has a concave kink at π/2, so no point where an angle is π/2 is stationary."""
    basis = torch.eye(6, dtype=torch.float64)
    left, right = (torch.stack([basis[:, :2], basis[:, 2:4]])[None] for _ in range(2))
    core = torch.eye(2, dtype=torch.float64).expand(1, 2, 2, 2)
    given = Problem(left, right, core, torch.tensor([[2, 2]]), torch.full((1, 2), 0.5, dtype=torch.float64))
    found = SOLVE[solver](objective(given, 2, distance="geodesic", reconstruction_weight=0.0))
    assert bool(found.converged.all())
    assert float(found.value) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("solver", SOLVE)
def test_one_adapter_at_its_own_rank_is_itself(solver):
    given = full_problem(Source(0), 12, 10, [[3], [3]])
    for distance in ("chordal", "phi", "geodesic"):
        found = SOLVE[solver](objective(given, 3, distance=distance))
        assert bool(found.converged.all())
        assert float(found.value.abs().max()) < 1e-13
        assert_same_span(found.left, given.left[:, 0], 1e-7)
        assert_same_span(found.right, given.right[:, 0], 1e-7)
