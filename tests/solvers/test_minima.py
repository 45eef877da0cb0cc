"""Several starts, the second-order test and the lower bound, against dense Hessians, brute force and closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.common.batched import select_rows
from lorafold.objectives import Objective
from lorafold.solvers import SOLVERS, Method, point
from lorafold.solvers._bases import Bases, completed
from lorafold.solvers._curvature import curvature
from lorafold.solvers._newton import descend
from lorafold.solvers._settle import Progress, descent, settled, solution
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread
from tests.solvers.problems import adam, objective

DIMS = [[3, 3], [2, 4], [4, 1], [3, 4]]
CURVED = ["chordal", "phi", "geodesic", "procrustes", "martin"]


def problem(seed=0, dims=DIMS):
    return full_problem(Source(seed), 7, 6, dims, [0.7, 0.4])


def trust_region(F, tol=1e-9, **options):
    return SOLVERS["trust_region"](F, tol=tol, max_steps=200, **options)


def dense_hessian(F: Objective, left: Tensor, right: Tensor) -> Tensor:
    """Of F(polar(U + U⊥K), polar(V + V⊥L)) at 0, by second differences of values, for one module."""
    bases = Bases(completed(left), completed(right))
    r, c, e = F.rank, bases.left.shape[-1] - F.rank, bases.right.shape[-1] - F.rank
    size, h = (c + e) * r, 1e-4

    def values(steps: Tensor) -> Tensor:
        packed = steps.view(-1, c + e, r)
        sides = ((bases.left, packed[:, :c]), (bases.right, packed[:, c:]))
        moved = [torch.linalg.qr(basis[..., :r] + basis[..., r:] @ K).Q for basis, K in sides]
        return select_rows(F, torch.zeros(len(steps), dtype=torch.int64)).evaluate(*moved).value

    eye = h * torch.eye(size, dtype=left.dtype)
    pairs = (eye[:, None] + eye[None]).view(-1, size), (eye[:, None] - eye[None]).view(-1, size)
    plus, minus = (values(steps) + values(-steps) for steps in pairs)
    return ((plus - minus) / (4 * h * h)).view(size, size)


@pytest.mark.parametrize("distance", [*CURVED, "asimov", "fubini_study"])
def test_the_sign_and_the_zero_of_the_smallest_eigenvalue_are_those_of_the_dense_hessian(distance):
    F = objective(problem(), 2, distance=distance)
    at = point(F, Source(1).haar(4, 7, 2), Source(2).haar(4, 6, 2))
    if distance in CURVED:
        at = descend(F, Bases(completed(at.left), completed(at.right)), 1e-3, 40)[0]
    bend = curvature(F, at)
    for row in range(4):
        alone = torch.tensor([row])
        H = dense_hessian(select_rows(F, alone), at.left[alone], at.right[alone])
        eigenvalues = torch.linalg.eigvalsh(H)
        if abs(float(eigenvalues[0])) > 1e-2 * float(eigenvalues[-1]):
            assert (float(bend.least[row]) > 0) == (float(eigenvalues[0]) > 0)
        # the direction is one in which F bends as it says
        d = select_rows(bend, alone).direction.flatten()
        assert float(d @ H @ d) * float(bend.least[row]) > -1e-6


def saddle(F: Objective) -> tuple[Tensor, Tensor]:
    """The second and not the first eigenvector on either side: stationary to rounding."""
    vectors = [torch.linalg.eigh(term.form).eigenvectors.flip(-1) for term in (F.left, F.right)]
    left, right = (v[..., [0, 2]] for v in vectors)
    return left, right


def test_a_saddle_is_left_and_one_that_is_not_left_has_not_converged():
    F = objective(full_problem(Source(2), 12, 10, [[3, 4]], [0.6, 0.4]), 2, reconstruction_weight=0.0)
    at = point(F, *saddle(F))
    assert float(at.gradient_norm) < 1e-12
    nothing, unknown = torch.zeros(1, dtype=torch.int64), torch.tensor([torch.nan], dtype=torch.float64)
    here = Progress(at, at.value, nothing, nothing, unknown, unknown, nothing == 0)
    newton = descent(F, 1e-8, 50)
    left = solution(settled(F, here, newton), 1e-8)
    best = trust_region(F).value
    torch.testing.assert_close(left.value, best, rtol=0, atol=1e-10)
    assert bool(left.converged) and float(left.curvature) > 0 and int(left.method) == Method.NEWTON
    assert not bool(solution(here, 1e-8).converged)  # nobody looked
    without = solution(settled(F, here, descent(F, 1e-8, 0)), 1e-8)
    assert not bool(without.converged) and float(without.value) < float(at.value)


@pytest.mark.parametrize("reconstruction", ["mean", "each"])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.1, 1.0), (1.0, 0.1)])
@pytest.mark.parametrize("distance", ["chordal", "phi"])
def test_the_bound_is_below_every_value(distance, weights, reconstruction):
    for seed in range(4):
        F = objective(
            problem(seed),
            2,
            distance=distance,
            reconstruction=reconstruction,
            subspace_weight=weights[0],
            reconstruction_weight=weights[1],
        )
        found = trust_region(F, tol=1e-7)
        assert bool((found.bound <= found.value + F.rounding).all()) and bool((found.bound >= 0).all())
        far = F.evaluate(Source(seed + 9).haar(4, 7, 2), Source(seed + 5).haar(4, 6, 2))
        assert bool((found.bound <= far.value).all())


@pytest.mark.parametrize("off", ["subspace_weight", "reconstruction_weight"])
def test_the_bound_is_the_minimum_where_a_term_is_off(off):
    F = objective(problem(), 2, **{off: 0.0})
    found = trust_region(F)
    torch.testing.assert_close(found.bound, found.value, rtol=0, atol=1e-14)
    assert bool(found.converged.all()) and bool((found.method == Method.CLOSED_FORM).all())


def test_there_is_no_bound_where_the_distance_is_not_quadratic():
    assert bool(trust_region(objective(problem(), 2, distance="geodesic"), tol=1e-6).bound.isnan().all())


@pytest.mark.parametrize(
    ("distance", "reconstruction"), [("chordal", "mean"), ("chordal", "each"), ("geodesic", "mean")]
)
def test_the_starts_find_what_fifty_random_ones_find(distance, reconstruction):
    F = objective(problem(3), 2, distance=distance, reconstruction=reconstruction)
    rows = torch.arange(4).repeat(50)
    source = Source(4)
    bases = Bases(source.haar(200, 7, 7), source.haar(200, 6, 6))
    brute = descend(select_rows(F, rows), bases, 1e-7, 100)[0].value.view(50, 4).amin(0)
    several, one = trust_region(F, tol=1e-7), trust_region(F, tol=1e-7, starts=1)
    torch.testing.assert_close(several.value, brute, rtol=1e-6, atol=0)
    assert bool((several.value <= one.value + F.rounding).all())


def test_where_f_is_small_the_test_of_the_gradient_is_strict():
    """Ranks 4 and 8, weights 1 and 1e-3: at a relative gradient of 1e-5, F would be some percent too large."""
    given = full_problem(Source(5), 12, 12, [[4, 8]] * 4, [1.0, 1e-3])
    F = objective(given, 6, subspace_weight=0.01)
    found, exact = trust_region(F, tol=1e-5), trust_region(F, tol=1e-11)
    assert bool((exact.value < 0.01).all())
    torch.testing.assert_close(found.value, exact.value, rtol=1e-3, atol=0)


def test_ties_are_said_and_directions_without_any_adapter_are_none():
    source = Source(6)
    left, right = source.haar(8, 4), source.haar(8, 4)
    given = full_problem(source, 8, 8, [[2, 2], [2, 1]], [0.5, 0.5])
    orthogonal = [torch.stack([frame[:, :2], frame[:, 2:]]) for frame in (left, right)]
    for side, frames in zip((given.left, given.right), orthogonal, strict=True):
        side[0] = frames
    given.core[0] = torch.eye(2, dtype=left.dtype)  # flat, and orthogonal to each other: any two of four directions
    found = trust_region(objective(given, 2))
    assert found.determined.tolist() == [False, True]
    assert trust_region(objective(given, 4)).determined.tolist() == [True, True]  # all there is, and room


def test_adam_alone_says_so():
    F = objective(problem(), 2)
    found = adam(F, tol=1e-5)
    assert bool(found.converged.all()) and bool((found.method == Method.RIEMANNIAN_ADAM).all())
    assert int(found.iterations.max()) <= 1500
    by_newton = adam(F, tol=1e-5, start="newton")
    assert bool((by_newton.method == Method.NEWTON).all())
    torch.testing.assert_close(found.value, by_newton.value, rtol=1e-6, atol=0)
