"""What keeps a solver on its way: acceleration, forgetting, caution, annealing, and the radius of the trust region."""

from __future__ import annotations

import math
from dataclasses import replace

import geoopt.optim
import pytest
import torch

from lorafold.objectives import DISTANCES
from lorafold.solvers import riemannian_adam as _riemannian_adam
from lorafold.solvers._anderson import Anderson
from lorafold.solvers._bases import Bases
from lorafold.solvers._conjugate_gradients import Step
from lorafold.solvers._newton import _judged, _State, descend
from lorafold.solvers._solution import point
from lorafold.solvers._sweeps import sweeps
from lorafold.solvers._walk import walk
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread
from tests.solvers.problems import adam, objective

DIMS = [[3, 3], [2, 5], [4, 0], [1, 6]]


def problem():
    return full_problem(Source(0), 12, 10, DIMS, [0.7, -0.2])


def far(F, rows=4, p=12, q=10):
    return point(F, Source(5).haar(rows, p, F.rank), Source(6).haar(rows, q, F.rank))


def counted(F, start):
    last, count = sweeps(F, start, 1e-8, 400)
    assert bool((last.gradient_norm <= 1e-8).all())
    return count


@pytest.mark.parametrize("distance", ["chordal", "phi", "geodesic", "procrustes"])
def test_acceleration_saves_sweeps(distance, monkeypatch):
    """Most where the plain iteration is slow."""
    F = objective(problem(), 3, distance=distance)
    fast = counted(F, far(F))
    monkeypatch.setattr(Anderson, "extrapolate", lambda self, iterate, residual: iterate + residual)
    plain = counted(F, far(F))
    assert bool((fast < plain).all()) and 2 * int(fast[1]) < int(plain[1])


def test_an_extrapolation_that_failed_is_forgotten():
    """With the differences that led astray it would be the same again: 59 sweeps instead of 14 for the third."""
    F = objective(problem(), 3, distance="procrustes")
    assert int(counted(F, far(F)).max()) <= 25


@pytest.mark.parametrize("rows", [[True, False], [False, True], [True, True]])
def test_what_is_forgotten_has_no_part_in_what_follows(rows):
    """From then on it is as if the history began with the last iterate."""
    source, forgotten = Source(9), torch.tensor(rows)
    path = [(source.normal(2, 8), source.normal(2, 8)) for _ in range(9)]
    old, young = Anderson(path[0][0], 4), Anderson(path[0][0], 4)
    for step in path[:4]:
        old.extrapolate(*step)
    old.forget(forgotten)
    young.extrapolate(*path[3])
    for step in path[4:]:
        one, other = old.extrapolate(*step), young.extrapolate(*step)
        torch.testing.assert_close(one[forgotten], other[forgotten], rtol=0, atol=1e-10)
        if step is path[4] and not all(rows):
            assert not torch.allclose(one[~forgotten], other[~forgotten])


def test_sweeps_that_overshoot_grow_cautious_until_they_descend():
    """Away from the subspaces: the shift that makes a step monotone is a hundred times the one that is given."""
    chordal = DISTANCES["chordal"].evaluate

    def apart(overlap, dims):
        value, slope = chordal(overlap, dims)
        return 1 - value, -slope

    distance = replace(
        DISTANCES["geodesic"], evaluate=apart, shift=lambda shared, _: torch.full_like(shared, 0.01), expand=None
    )
    given = full_problem(Source(0), 8, 7, [[6, 5], [5, 4]], [0.7, 0.3])
    F = objective(given, 3, distance="geodesic", reconstruction_weight=0.0)
    F = replace(F, left=replace(F.left, distance=distance), right=replace(F.right, distance=distance))
    last, _ = sweeps(F, far(F, 2, 8, 7), 1e-8, 400)
    assert bool((last.gradient_norm <= 1e-8).all())
    for row in range(2):
        best = 0.0
        for frames, term in ((given.left[row], F.left), (given.right[row], F.right)):
            mean = sum(share * frame @ frame.mT for share, frame in zip(term.shares[row], frames, strict=True))
            best += float(torch.linalg.eigvalsh(mean)[:3].sum() / 3)
        assert float(last.value[row]) == pytest.approx(best, abs=1e-9)


def test_the_learning_rate_of_a_cycle_falls_along_a_cosine(monkeypatch):
    seen = []

    class Recorded(geoopt.optim.RiemannianAdam):
        def step(self, *arguments):
            seen.append(self.param_groups[0]["lr"].flatten())
            return super().step(*arguments)

    monkeypatch.setattr(geoopt.optim, "RiemannianAdam", Recorded)
    F, rates = objective(problem(), 3), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    walk(F, far(F), rates, "grassmann", 5)
    expected = [(1 + math.cos(math.pi * step / 5)) / 2 * rates for step in range(5)]
    torch.testing.assert_close(torch.stack(seen), torch.stack(expected), rtol=1e-12, atol=0)


def test_a_cycle_that_ends_higher_is_undone_and_repeated_at_half_the_rate(monkeypatch):
    F, rates = objective(problem(), 3), []
    worst = far(F)

    def astray(part, known, rate, manifold, steps):
        rates.append((rate.tolist(), steps))
        return replace(known, left=worst.left[: len(rate)], right=worst.right[: len(rate)])

    monkeypatch.setattr(_riemannian_adam, "walk", astray)
    found = adam(F, learning_rate=0.8, max_steps=500, tol=1e-8)
    norms = found.gradient_norm[[0, 1, 3]]  # that of the start
    assert [steps for _, steps in rates] == [200, 200, 100]
    for (rate, _), factor in zip(rates, (0.8, 0.4, 0.2), strict=True):
        torch.testing.assert_close(torch.tensor(rate).double(), factor * norms)
    assert torch.equal(found.value, adam(F, max_steps=0).value) and found.iterations.tolist() == [500, 500, 0, 500]


def test_after_a_cycle_that_ends_lower_the_rate_follows_the_gradient(monkeypatch):
    F, rates = objective(problem(), 3), []
    whole = _riemannian_adam.walk

    def recorded(part, known, rate, manifold, steps):
        rates.append(rate / known.gradient_norm)
        return whole(part, known, rate, manifold, 20)

    monkeypatch.setattr(_riemannian_adam, "walk", recorded)
    found = adam(F, learning_rate=0.01, max_steps=600, tol=1e-8)
    torch.testing.assert_close(torch.stack(rates), torch.full((3, 3), 0.01).double())
    assert bool((found.value < found.value_start)[[0, 1, 3]].all())


@pytest.mark.parametrize(
    ("agreement", "at_edge", "taken", "radius"),
    [
        (math.nan, True, False, 0.25),
        (-1.0, False, False, 0.25),
        (0.04, True, False, 0.25),
        (0.06, True, True, 0.25),
        (0.24, False, True, 0.25),
        (0.26, True, True, 1.0),
        (0.74, True, True, 1.0),
        (0.76, False, True, 1.0),
        (0.76, True, True, 2.0),
    ],
)
def test_a_step_is_judged_by_what_the_model_promised(agreement, at_edge, taken, radius):
    """And so is the next radius, from 1; decreases below rounding count as agreeing."""
    F = objective(problem(), 3)
    here = F.expand(Source(3).haar(4, 12, 12), Source(4).haar(4, 10, 10))
    promised, none = torch.full((4,), 0.5).double(), torch.zeros(4).double()
    there = replace(here, value=here.value - agreement * promised)
    radii = torch.ones(4).double()
    states = [_State(Bases(radii, radii), model, radii) for model in (here, there)]
    step = Step(radii, promised, torch.full((4,), at_edge))
    found = _judged(step, *states, none)
    assert (found[0].tolist(), found[1].tolist()) == ([taken] * 4, [radius] * 4)
    tiny = replace(there, value=here.value + 1e-15)
    accepted, _ = _judged(replace(step, decrease=none), states[0], _State(states[0].bases, tiny, radii), none + 1e-12)
    assert bool(accepted.all())


@pytest.mark.parametrize("distance", ["chordal", "phi", "geodesic", "procrustes", "martin"])
def test_newton_steps_from_afar_are_few(distance):
    """13 to 32 here; without a region that grows they are up to 60, and none ends without one that shrinks."""
    F = objective(problem(), 3, distance=distance)
    bases = Bases(Source(5).haar(4, 12, 12), Source(6).haar(4, 10, 10))
    last, steps = descend(F, bases, 1e-9, 60)
    assert bool((last.gradient_norm <= 1e-9).all()) and int(steps.max()) <= 40 and int(steps.sum()) <= 110


def test_newton_steps_are_the_same_for_an_objective_of_another_size():
    """So is the first radius."""
    bases = Bases(Source(5).haar(4, 12, 12), Source(6).haar(4, 10, 10))
    paths = []
    for size in (1.0, 4096.0):
        F = objective(problem(), 3, distance="geodesic", subspace_weight=size, reconstruction_weight=size)
        paths.append(descend(F, bases, 0.0, 2)[0].left)
    torch.testing.assert_close(*paths, rtol=0, atol=1e-6)
