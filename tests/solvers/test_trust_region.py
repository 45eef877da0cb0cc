"""The trust region: retraction, descent, the same minima as sweeps, quadratic convergence, and saddle points left."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from lorafold.common.errors import LorafoldError
from lorafold.solvers import SOLVERS
from lorafold.solvers._bases import Bases, complement, completed, turned
from lorafold.solvers._conjugate_gradients import newton_step, preconditioner
from lorafold.solvers._newton import descend
from tests import oracles
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread
from tests.solvers.problems import alternating, objective

DIMS = [[3, 3], [2, 5], [4, 0], [1, 6], [5, 5]]
CURVED = ["chordal", "phi", "geodesic", "procrustes", "martin"]


def problem():
    return full_problem(Source(0), 14, 11, DIMS, [0.7, -0.4])


def trust_region(F, *, tol=1e-9, max_steps=200):
    return SOLVERS["trust_region"](F, tol=tol, max_steps=max_steps)


def random_bases(F, seed=3):
    source = Source(seed)
    return Bases(*(source.haar(len(DIMS), d, d) for d in (14, 11)))


@pytest.mark.parametrize("size", [0.0, 1e-9, 1.0, 10.0])
@pytest.mark.parametrize("rank", [1, 4, 9, 10])
def test_turned_bases_are_orthogonal_and_span_what_the_step_says(rank, size):
    source = Source(rank)
    basis = source.haar(2, 10, 10)
    step = size * source.normal(2, 10 - rank, rank)
    new = turned(basis, step)
    torch.testing.assert_close(new.mT @ new, torch.eye(10, dtype=new.dtype).expand(2, 10, 10), rtol=0, atol=1e-12)
    expected = torch.linalg.qr(basis[..., :rank] + basis[..., rank:] @ step).Q
    for row in range(2):
        torch.testing.assert_close(
            oracles.projector(new[row, :, :rank]), oracles.projector(expected[row]), rtol=0, atol=1e-12
        )


def test_completed_keeps_the_frame():
    frame = Source(1).haar(3, 7, 3)
    basis = completed(frame)
    torch.testing.assert_close(basis[..., :3], frame, rtol=0, atol=0)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(7, dtype=frame.dtype).expand(3, 7, 7), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("size", "rank"), [(7, 3), (40, 39), (9, 1), (4, 4)])
def test_a_block_reflector_gives_the_complement_too(size, rank):
    source = Source(2)
    mirrored = torch.eye(size, rank, dtype=torch.float64).flip(0)  # the first rows of whose span may be zeros
    frame = torch.cat([source.haar(3, size, rank), mirrored[None], -mirrored[None].flip(1)])
    basis = torch.cat([frame, complement(frame)], -1)
    eye = torch.eye(size, dtype=frame.dtype).expand(len(basis), -1, -1)
    torch.testing.assert_close(basis.mT @ basis, eye, rtol=0, atol=1e-14)


@pytest.mark.parametrize("distance", CURVED)
def test_a_newton_step_in_a_wide_region_solves_newtons_equation(distance):
    """Near a minimum the Hessian is positive definite, and conjugate gradients end at -H⁻¹g."""
    F = objective(problem(), 3, distance=distance)
    near = trust_region(F, tol=1e-3)
    model = F.expand(completed(near.left), completed(near.right))
    wide = torch.full_like(near.value, 1e3)
    step = newton_step(model, preconditioner(model), wide, 500)
    inside = ~step.at_edge
    assert bool(inside.any())
    residual = (model.hessian(step.move) + model.gradient).flatten(1).norm(dim=1)
    assert bool((residual <= 0.31 * model.gradient.flatten(1).norm(dim=1))[inside].all())
    predicted = -(model.gradient * step.move).sum((1, 2)) - (step.move * model.hessian(step.move)).sum((1, 2)) / 2
    torch.testing.assert_close(step.decrease, predicted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("radius", [1e-3, 1e-1, 0.5])
@pytest.mark.parametrize("distance", CURVED)
def test_a_newton_step_stays_in_its_region_and_promises_a_decrease(distance, radius):
    """One that is stopped at the edge ends on it, after however many directions."""
    F = objective(problem(), 3, distance=distance)
    bases = random_bases(F)
    model = F.expand(bases.left, bases.right)
    scale = preconditioner(model)
    step = newton_step(model, scale, torch.full_like(model.value, radius), 20)
    length = (step.move.square() * scale).sum((1, 2)).sqrt()
    assert bool((length <= radius * (1 + 1e-9)).all()) and bool((step.decrease > 0).all())
    assert bool(step.at_edge.any()) and bool((length >= radius * (1 - 1e-9))[step.at_edge].all())


@pytest.mark.parametrize("distance", CURVED)
def test_no_step_raises_the_objective(distance):
    F = objective(problem(), 3, distance=distance)
    bases = random_bases(F)
    values = [descend(F, bases, 1e-12, steps)[0].value for steps in range(8)]
    for before, after in pairwise(values):
        assert bool((after <= before + F.rounding).all())


@pytest.mark.parametrize("reconstruction", ["mean", "each"])
@pytest.mark.parametrize("distance", CURVED)
def test_it_ends_where_sweeps_end_or_lower(distance, reconstruction):
    F = objective(problem(), 3, distance=distance, reconstruction=reconstruction)
    found, swept = trust_region(F), alternating(F, tol=1e-7, max_sweeps=3000)
    assert bool(found.converged.all())
    assert bool((found.value <= swept.value + 1e-9).all())


def test_convergence_is_quadratic_at_the_end():
    """From 1e-5 on, one step or two reach rounding."""
    F = objective(problem(), 3)
    near = trust_region(F, tol=1e-4)
    far = descend(F, Bases(completed(near.left), completed(near.right)), 1e-11, 4)
    assert bool((far[0].gradient_norm <= 1e-11).all())


def test_it_leaves_a_saddle_point_at_which_sweeps_stay():
    """With F = const - tr(UᵀPU) any eigenspace of P is stationary; only the leading one is a minimum."""
    F = objective(full_problem(Source(2), 12, 10, [[3, 4]], [0.6, 0.4]), 2, reconstruction_weight=0.0)
    vectors = [torch.linalg.eigh(term.form).eigenvectors.flip(-1) for term in (F.left, F.right)]
    swapped = [v[..., [0, 2, 1, *range(3, v.shape[-1])]] for v in vectors]
    tilted = [v @ torch.linalg.matrix_exp(1e-6 * _skew(v)) for v in swapped]
    start = F.expand(*tilted)
    assert float(start.gradient_norm.max()) < 1e-5
    last, _ = descend(F, Bases(*tilted), 1e-10, 50)
    best = F.evaluate(*(v[..., :2] for v in vectors)).value
    torch.testing.assert_close(last.value, best, rtol=0, atol=1e-10)
    assert float((start.value - best).min()) > 1e-3


def _skew(like):
    random = Source(7).normal(*like.shape)
    return random - random.mT


def test_a_distance_without_a_hessian_is_refused_by_name():
    with pytest.raises(LorafoldError, match=r"trust_region needs a Hessian.*solver=riemannian_adam"):
        trust_region(objective(problem(), 3, distance="asimov"))


def test_the_limit_is_kept_and_said():
    F = objective(problem(), 3, distance="geodesic")
    found = trust_region(F, tol=1e-12, max_steps=1)
    assert int(found.iterations.max()) == 1 and not bool(found.converged.all())
