"""F(U, V) against its definition: principal angles and residuals of dense matrices, one module at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lorafold.common.errors import LorafoldError
from lorafold.core_space.problem import Problem
from lorafold.objectives import DISTANCES, RECONSTRUCTIONS, build
from tests import oracles
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread

OPTIONS = {
    "subspace_weight": 1.0,
    "reconstruction_weight": 1.0,
    "distance": "chordal",
    "reconstruction": "mean",
    "rescale": 0.0,
    "directions": "all",
}
# One row per module: the ranks k_i of its adapters.
DIMS = {
    "equal": [[3, 3]],
    "unequal": [[2, 5]],
    "one adapter": [[4]],
    "three adapters": [[1, 4, 2]],
    "an absent adapter": [[3, 0]],
    "no adapter at all": [[0, 0], [3, 3]],
    "a batch of all": [[3, 3], [2, 5], [5, 0], [0, 0], [1, 1]],
}
RANKS = {"r < k": 1, "k <= r <= k": 3, "r > k": 6}


def frames(source: Source, problem: Problem, rank: int):
    return tuple(source.haar(*side.shape[:1], side.shape[2], rank) for side in (problem.left, problem.right))


def assert_values(problem: Problem, rank: int, **options):
    chosen = {**OPTIONS, **options}
    left, right = frames(Source(9), problem, rank)
    found = build(problem, rank, **chosen).evaluate(left, right).value
    for row, deltas in enumerate(problem.updates()):
        expected = oracles.objective(list(deltas), problem.weights[row].tolist(), left[row], right[row], **chosen)
        assert float(found[row]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("rank", RANKS.values(), ids=RANKS)
@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_distances(distance, dims, rank):
    assert_values(full_problem(Source(0), 9, 7, dims), rank, distance=distance, reconstruction_weight=0.0)


@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
@pytest.mark.parametrize("rescale", [0.25, 1.0])
def test_reconstruction_of_rescaled_updates(rescale, dims):
    problem = full_problem(Source(0), 9, 7, dims, [0.7, -0.2, 0.4][: len(dims[0])])
    sizes = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)[: len(dims[0]), None, None]
    problem = replace(problem, core=sizes * problem.core)
    assert_values(problem, 3, reconstruction="each", rescale=rescale, subspace_weight=0.0)


@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
def test_reconstruction(reconstruction, dims):
    problem = full_problem(Source(0), 9, 7, dims, [0.7, -0.2, 0.4][: len(dims[0])])
    assert_values(problem, 3, reconstruction=reconstruction, subspace_weight=0.0)


@pytest.mark.parametrize("directions", ["all", 1, 2, 9, 0.3, 0.8, 0.999])
@pytest.mark.parametrize("distance", DISTANCES)
def test_directions(distance, directions):
    problem = full_problem(Source(0), 9, 7, DIMS["a batch of all"])
    assert_values(problem, 2, distance=distance, directions=directions)


@pytest.mark.parametrize("weights", [[0.7, 0.3], [2.0, 1.0], [1.0, -1.0], [0.0, 3.0]])
@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
def test_weights(reconstruction, weights):
    """Their sizes share out the distance; their signs and their total count in the target alone."""
    problem = full_problem(Source(0), 9, 7, DIMS["unequal"], weights)
    assert_values(problem, 3, reconstruction=reconstruction)


@pytest.mark.parametrize(("subspace_weight", "reconstruction_weight"), [(0.0, 1.0), (3.0, 0.0), (0.5, 4.0)])
def test_both_terms_are_weighted(subspace_weight, reconstruction_weight):
    problem = full_problem(Source(0), 9, 7, DIMS["unequal"])
    assert_values(problem, 3, subspace_weight=subspace_weight, reconstruction_weight=reconstruction_weight)


def at_angles(thetas: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two frames in coordinate planes, with these principal angles."""
    theta, k = torch.tensor(thetas, dtype=torch.float64), len(thetas)
    X, Y = torch.zeros(2 * k, k, dtype=torch.float64), torch.zeros(2 * k, k, dtype=torch.float64)
    X[:k] = torch.eye(k)
    Y[:k], Y[k:] = theta.cos().diag(), theta.sin().diag()
    return X, Y


EXACT = {  # angles: chordal (or phi), geodesic
    "equal": ([0.0, 0.0], 0.0, 0.0),
    "orthogonal": ([math.pi / 2] * 2, 1.0, 1.0),
    "half": ([0.0, math.pi / 2], 0.5, 0.5),
    "45 degrees": ([math.pi / 4] * 2, 0.5, 0.25),
    "30 and 60 degrees": ([math.pi / 6, math.pi / 3], 0.5, 5 / 18),
    "nearly equal": ([1e-7, 1e-7], 1e-14, 4e-14 / math.pi**2),
}


@pytest.mark.parametrize(("thetas", "squared_sines", "squared_angles"), EXACT.values(), ids=EXACT)
def test_known_angles(thetas, squared_sines, squared_angles):
    X, Y = at_angles(thetas)
    overlap, dims = (Y.mT @ X)[None, None], torch.tensor([[2]])
    for name, expected in (("chordal", squared_sines), ("phi", squared_sines), ("geodesic", squared_angles)):
        value, slope = DISTANCES[name].evaluate(overlap, dims)
        assert float(value) == pytest.approx(expected, rel=1e-14, abs=1e-15)
        assert bool(slope.isfinite().all())


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("rank", RANKS.values(), ids=RANKS)
def test_bounds(distance, rank):
    """0 where one space contains the other, at most 1, and 1 where they are orthogonal and r <= k."""
    source = Source(0)
    basis = source.haar(1, 16, 16)
    inside, outside = basis[0, :, :8], basis[0, :, 8:]
    overlap = torch.stack([frame.mT @ inside[:, :rank] for frame in (inside[:, :4], outside[:, :4])])[None]
    contained, orthogonal = DISTANCES[distance].evaluate(overlap, torch.tensor([[4, 4]]))[0][0].tolist()
    assert contained == pytest.approx(0, abs=1e-14)
    every_dimension_alike = distance in ("chordal", "geodesic", "procrustes")
    assert orthogonal == pytest.approx(4 / rank if rank > 4 and every_dimension_alike else 1, rel=1e-14)
    overlaps = source.haar(50, 1, 12, 4).mT @ source.haar(50, 1, 12, rank)
    values = DISTANCES[distance].evaluate(overlaps, torch.full((50, 1), 4))[0]
    assert bool((values >= 0).all()) and bool((values <= 1).all())


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
def test_the_frame_of_a_subspace_does_not_count(distance, reconstruction):
    source = Source(0)
    problem = full_problem(source, 9, 7, DIMS["three adapters"])
    objective = build(problem, 3, **{**OPTIONS, "distance": distance, "reconstruction": reconstruction})
    left, right = frames(source, problem, 3)
    one, other = source.haar(1, 3, 3), source.haar(1, 3, 3)
    plain, turned = objective.evaluate(left, right), objective.evaluate(left @ one, right @ other)
    torch.testing.assert_close(turned.value, plain.value, rtol=1e-13, atol=0)
    torch.testing.assert_close(turned.left, plain.left @ one, rtol=0, atol=1e-13)
    torch.testing.assert_close(turned.right, plain.right @ other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("distance", DISTANCES)
def test_it_is_bounded_below_by_zero_and_attains_it_on_one_adapter(distance):
    problem = full_problem(Source(0), 9, 7, [[3]])
    objective = build(problem, 3, **{**OPTIONS, "distance": distance})
    assert float(objective.evaluate(problem.left[:, 0], problem.right[:, 0]).value) == pytest.approx(0, abs=1e-14)
    assert float(objective.evaluate(*frames(Source(1), problem, 3)).value) > 0.1


def test_the_transposed_objective_exchanges_the_sides():
    problem = full_problem(Source(0), 9, 7, DIMS["a batch of all"])
    objective = build(problem, 2, **{**OPTIONS, "reconstruction": "each"})
    left, right = frames(Source(1), problem, 2)
    plain, exchanged = objective.evaluate(left, right), objective.transposed.evaluate(right, left)
    torch.testing.assert_close(exchanged.value, plain.value, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(exchanged.left, plain.right, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": "chrodal"}, "unknown distance 'chrodal'.*chordal"),
        ({"reconstruction": "sum"}, "unknown reconstruction 'sum'.*mean, each"),
        ({"directions": "most"}, "directions='most', expected 'all', a count >= 1 or an energy fraction in"),
        ({"directions": 0}, "directions=0, expected"),
        ({"directions": -3}, "directions=-3, expected"),
        ({"directions": 0.0}, "directions=0.0, expected"),
        ({"directions": 1.0}, "directions=1.0, expected"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(LorafoldError, match=message):
        build(full_problem(Source(0), 9, 7, [[3, 3]]), 2, **{**OPTIONS, **change})


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_what_rounding_makes_of_a_value_grows_with_the_weights(size):
    given = full_problem(Source(0), 9, 8, [[3, 3], [2, 5]])
    weights = {"subspace_weight": size, "reconstruction_weight": size}
    rounding = build(given, 3, **{**OPTIONS, **weights}).rounding
    assert (rounding / size).tolist() == pytest.approx([16 * torch.finfo(rounding.dtype).eps] * 2, rel=1e-12)
