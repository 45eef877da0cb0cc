"""Means against closed forms and dense eigenvectors, and as optima: a displaced point is worse."""

from __future__ import annotations

import math

import pytest
import torch

from lorafold.common.errors import LorafoldError
from lorafold.geometry import chordal_mean, distance, expmap, geodesic_point, karcher_mean, orthonormality_error

WEIGHTS = [0.5, 0.2, 0.3]


def mixed_frames(haar, n):
    return [haar(2, n, 2), haar(2, n, 3), haar(2, n, 5)]


def total(name, point, frames, weights, completion="full"):
    """sum w_i d(point, X_i)^2."""
    return sum(
        w * distance(name, point, frame, completion=completion).square()
        for w, frame in zip(weights, frames, strict=True)
    )


@pytest.mark.parametrize("n", [8, 10, 40], ids=["n < K", "n = K", "n > K"])
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_chordal_mean_is_the_leading_eigenspace(haar, projector_gap, n, rank):
    frames = mixed_frames(haar, n)
    mean = chordal_mean(frames, rank, WEIGHTS)
    dense = sum(w * frame @ frame.mT for w, frame in zip(WEIGHTS, frames, strict=True))
    eigenvalues, vectors = torch.linalg.eigh(dense)

    expected = eigenvalues.flip(-1)[..., : min(n, 10)]
    torch.testing.assert_close(mean.eigenvalues, expected, rtol=0, atol=1e-14)
    following = expected[..., rank] if rank < expected.shape[-1] else 0
    torch.testing.assert_close(mean.gap, expected[..., rank - 1] - following, rtol=0, atol=2e-14)
    assert orthonormality_error(mean.point).max() < 4e-15
    assert projector_gap(mean.point, vectors.flip(-1)[..., :rank]) < 1e-12


@pytest.mark.parametrize("n", [8, 40])
def test_no_displaced_point_is_nearer_in_chordal_distance(haar, tangent, n):
    frames = mixed_frames(haar, n)
    best = chordal_mean(frames, 3, WEIGHTS).point
    value = total("chordal", best, frames, WEIGHTS)
    for size in (1e-3, 0.1, 1.0):
        for _ in range(10):
            assert (total("chordal", expmap(best, tangent(best, size)), frames, WEIGHTS) > value).all()


@pytest.mark.parametrize("second", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("theta", [1e-6, 0.4, 1.5])
def test_means_of_two_lines(pair_at, second, theta):
    """Angle from X: atan2(w2 sin 2t, w1 + w2 cos 2t) / 2 for the chordal mean, w2 t for the geodesic one."""
    X, Y = pair_at([theta], 6)
    first = 1 - second
    chordal, karcher = chordal_mean([X, Y], 1, [first, second]), karcher_mean([X, Y], [first, second])

    angle = math.atan2(second * math.sin(2 * theta), first + second * math.cos(2 * theta)) / 2
    assert float(distance("geodesic", X, chordal.point)) == pytest.approx(angle, abs=4e-15)
    assert float(distance("geodesic", X, karcher.point)) == pytest.approx(second * theta, abs=2e-10)
    root = math.sqrt(1 - 4 * first * second * math.sin(theta) ** 2)
    torch.testing.assert_close(
        chordal.eigenvalues, torch.tensor([1 + root, 1 - root], dtype=torch.float64) / 2, rtol=0, atol=4e-16
    )


def test_equal_weights_make_both_means_the_midpoint(haar, projector_gap):
    X, Y = haar(30, 4), haar(30, 4)
    midpoint = geodesic_point(X, Y, 0.5)
    assert projector_gap(chordal_mean([X, Y], 4).point, midpoint) < 1e-13
    assert projector_gap(karcher_mean([X, Y]).point, midpoint) < 1e-13


@pytest.mark.parametrize("name", ["equal", "one weight", "rank of the joint span"])
def test_degenerate_chordal_means(haar, projector_gap, name):
    X, Y = haar(20, 3), haar(20, 3)
    if name == "equal":
        mean = chordal_mean([X, X @ haar(3, 3)], 3)
        assert projector_gap(mean.point, X) < 1e-14
        assert float(mean.gap) == pytest.approx(1)
        assert (chordal_mean([haar(4, 5, 1)] * 5, 1).eigenvalues >= 0).all()  # squared singular values
    elif name == "one weight":
        assert projector_gap(chordal_mean([X, Y], 3, [0.0, 2.0]).point, Y) < 1e-14
    else:
        point = chordal_mean([X, Y], 6).point
        assert float(distance("geodesic", point, X)) < 1e-13
        assert float(distance("geodesic", point, Y)) < 1e-13


def test_an_undetermined_mean_has_no_gap(haar):
    frame = haar(20, 4)
    assert float(chordal_mean([frame[:, :2], frame[:, 2:]], 2).gap) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("index", range(4))
def test_karcher_means_of_uqpy_cases(uqpy, index):
    case = uqpy["karcher"][index]
    points = [torch.tensor(point, dtype=torch.float64) for point in case["points"]]
    mean = karcher_mean(points)
    assert bool(mean.converged)
    assert float(mean.gradient_norm) <= 1e-10
    assert float(distance("geodesic", mean.point, torch.tensor(case["true_mean"], dtype=torch.float64))) < 5e-10
    variance = total("geodesic", mean.point, points, [1 / len(points)] * len(points))
    assert float(variance) == pytest.approx(case["frechet_var_true"], rel=1e-14)


def test_no_displaced_point_is_nearer_in_geodesic_distance(haar, tangent):
    centre = haar(20, 3)
    frames = [expmap(centre, tangent(centre, 0.3)) for _ in range(3)]
    best = karcher_mean(frames, WEIGHTS).point
    value = total("geodesic", best, frames, WEIGHTS)
    for size in (1e-3, 0.1, 1.0):
        for _ in range(10):
            assert total("geodesic", expmap(best, tangent(best, size)), frames, WEIGHTS) > value


def test_no_step_is_needed_where_all_subspaces_are_one():
    frame = torch.eye(5, dtype=torch.float64)[:, :2]
    mean = karcher_mean([frame, frame], tolerance=0.0, max_iterations=3)
    assert bool(mean.converged) and int(mean.iterations) == 0 and float(mean.gradient_norm) == 0


def test_elements_of_a_batch_stop_on_their_own(haar, tangent, projector_gap):
    centre = haar(2, 20, 3)
    spread = torch.tensor([0.01, 0.5], dtype=torch.float64)[:, None, None]
    frames = [expmap(centre, spread * tangent(centre, 1.0)) for _ in range(3)]
    together = karcher_mean(frames, WEIGHTS)
    alone = [karcher_mean([frame[i] for frame in frames], WEIGHTS) for i in range(2)]
    assert together.iterations.tolist() == [int(mean.iterations) for mean in alone]
    assert together.iterations[0] < together.iterations[1]
    assert projector_gap(together.point, torch.stack([mean.point for mean in alone])) < 1e-14


def test_near_subspaces_take_few_steps(haar, tangent):
    """A whole step leaves what the curvature makes of it: here some hundredth of the way."""
    x = haar(12, 3)
    frames = [expmap(x, tangent(x, 0.2)) for _ in range(3)]
    mean = karcher_mean(frames)
    assert bool(mean.converged) and int(mean.iterations) <= 8


def test_a_run_that_did_not_converge_says_so(haar):
    mean = karcher_mean([haar(20, 3) for _ in range(3)], max_iterations=1)
    assert not bool(mean.converged)
    assert int(mean.iterations) == 1
    assert float(mean.gradient_norm) > 1e-10


def test_weights_can_differ_within_a_batch(haar, projector_gap):
    frames = [haar(2, 20, 3), haar(2, 20, 3)]
    weights = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    for mean in (lambda f, w: chordal_mean(f, 3, w), karcher_mean):
        together = mean(frames, weights).point
        for i in range(2):
            assert projector_gap(together[i], mean([frame[i] for frame in frames], weights[i].tolist()).point) < 1e-9


def test_points_keep_the_dtype_of_the_frames(haar):
    frames = [haar(20, 3, dtype=torch.float32), haar(20, 3, dtype=torch.float32)]
    assert chordal_mean(frames, 2).point.dtype == karcher_mean(frames).point.dtype == torch.float32
    assert bool(karcher_mean(frames).converged)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, math.nan]], ids=str)
def test_weights_that_are_none(haar, weights):
    with pytest.raises(LorafoldError, match="Give one number >= 0 for each subspace"):
        chordal_mean([haar(9, 2), haar(9, 2)], 2, weights)


@pytest.mark.parametrize("rank", [0, 5])
def test_ranks_that_no_mean_has(haar, rank):
    with pytest.raises(LorafoldError, match=f"is {rank}, expected 1 to 4"):
        chordal_mean([haar(9, 2), haar(9, 2)], rank)


def test_karcher_means_need_one_dimension(haar):
    with pytest.raises(LorafoldError, match=r"one dimension, not 2, 3\. Use the chordal mean"):
        karcher_mean([haar(9, 2), haar(9, 3)])
