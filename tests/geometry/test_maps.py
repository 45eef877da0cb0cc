"""Exp, Log and transport against dense matrix exponentials, and on the cut locus.

Oracle: with the n x n generator W = U X^T - X U^T the geodesic is span(expm(t W) X); expm(W) also carries the
lift of a tangent vector along it in parallel.
"""

from __future__ import annotations

import math

import pytest
import torch

from lorafold.geometry import (
    distance,
    expmap,
    expmap_transport,
    geodesic_point,
    logmap,
    orthonormality_error,
    principal_angles,
    transport,
)

SIZES = {"zero": 0.0, "1e-9": 1e-9, "1e-4": 1e-4, "one": 1.0, "beyond the cut locus": 2.0, "round the manifold": 20.0}
SHAPES = [(12, 3), (2, 7, 4), (5, 1), (4, 4)]
PAIRS = {
    "equal": [0.0, 0.0, 0.0],
    "tiny": [1e-9, 1e-9, 2e-9],
    "repeated": [0.8, 0.8, 0.8],
    "nearly right": [0.2, 0.9, math.pi / 2 - 1e-9],
    "one right angle": [0.2, 0.9, math.pi / 2],
    "shared and right": [0.0, 0.0, math.pi / 2],
    "orthogonal": [math.pi / 2] * 3,
}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exp_and_transport_against_the_dense_exponential(haar, tangent, shape, size):
    X = haar(*shape)
    U, V = tangent(X, size), tangent(X, 1.0)
    rotation = torch.linalg.matrix_exp(U @ X.mT - X @ U.mT)

    point, moved = expmap_transport(X, U, V)

    close = {"rtol": 0, "atol": 1e-14 * max(size, 1)}
    torch.testing.assert_close(point, rotation @ X, **close)
    torch.testing.assert_close(moved, rotation @ V, **close)
    assert torch.equal(expmap(X, U), point)
    assert torch.equal(transport(X, U, V), moved)


@pytest.mark.parametrize("size", [0.01, 1.0, 20.0])
def test_exp_in_single_precision_is_as_exact_as_its_input(haar, tangent, size):
    """The speeds come from a float64 Gram matrix; from one in float32 the error at size 20 is ten times larger."""
    X = haar(20, 40, 6, dtype=torch.float32)
    U = tangent(X, size)
    rotation = torch.linalg.matrix_exp(U.double() @ X.double().mT - X.double() @ U.double().mT)
    assert (expmap(X, U) - rotation @ X.double()).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1.57])
def test_log_inverts_exp_inside_the_injectivity_radius(haar, tangent, projector_gap, size, dtype):
    X = haar(4, 30, 5, dtype=dtype)
    U = tangent(X, size)
    precision = torch.finfo(dtype).eps
    inverse = logmap(X, expmap(X, U))
    assert inverse.dtype == dtype
    assert (inverse - U).abs().max() < 20 * precision
    assert projector_gap(expmap(X, inverse), expmap(X, U)) < 20 * precision


@pytest.mark.parametrize("angles", PAIRS.values(), ids=PAIRS)
def test_log_is_finite_and_shortest_everywhere(pair_at, haar, projector_gap, angles):
    X, Y = pair_at(angles, 9)
    rotation = haar(9, 9)
    X, Y = rotation @ X @ haar(3, 3), rotation @ Y @ haar(3, 3)
    U = logmap(X, Y)
    assert (X.mT @ U).abs().max() < 1e-15
    assert projector_gap(expmap(X, U), Y) < 4e-15
    speeds = torch.linalg.svdvals(U).flip(-1)
    torch.testing.assert_close(speeds, torch.tensor(angles, dtype=torch.float64), rtol=0, atol=4e-15)


def test_log_of_a_near_point_keeps_relative_precision(pair_at):
    X, Y = pair_at([1e-9, 3e-9], 5)
    assert float(torch.linalg.matrix_norm(logmap(X, Y))) == pytest.approx(math.sqrt(10) * 1e-9, rel=1e-14)


@pytest.mark.parametrize(("k", "other"), [(2, 5), (5, 2)])
def test_log_between_dimensions_leads_to_the_nearest_containment(haar, k, other):
    X, Y = haar(3, 15, k), haar(3, 15, other)
    U = logmap(X, Y)
    reached = expmap(X, U)
    assert principal_angles(reached, Y).max() < 1e-14
    torch.testing.assert_close(torch.linalg.matrix_norm(U), distance("geodesic", X, Y), rtol=1e-14, atol=0)


def test_transport_is_an_isometry_onto_the_tangent_space(haar, tangent):
    X = haar(4, 20, 3)
    U, V, W = tangent(X, 1.3), tangent(X, 0.5), tangent(X, 2.0)
    point, V_moved = expmap_transport(X, U, V)
    W_moved = transport(X, U, W)
    assert (point.mT @ V_moved).abs().max() < 1e-14
    torch.testing.assert_close((V_moved * W_moved).sum((-2, -1)), (V * W).sum((-2, -1)), rtol=0, atol=1e-14)


def test_everything_follows_a_rotation_of_the_columns(haar, tangent):
    X, Y, Q, R = haar(3, 20, 4), haar(3, 20, 4), haar(3, 4, 4), haar(3, 4, 4)
    U, V = tangent(X, 1.0), tangent(X, 1.0)
    close = {"rtol": 0, "atol": 1e-14}
    for turned, straight in zip(expmap_transport(X @ Q, U @ Q, V @ Q), expmap_transport(X, U, V), strict=True):
        torch.testing.assert_close(turned, straight @ Q, **close)
    torch.testing.assert_close(logmap(X @ Q, Y @ R), logmap(X, Y) @ Q, **close)


def test_geodesics_have_constant_speed_and_given_ends(haar, projector_gap):
    X, Y = haar(12, 3), haar(12, 3)
    length = float(distance("geodesic", X, Y))
    for t in (0.0, 0.25, 0.5, 1.0):
        assert float(distance("geodesic", X, geodesic_point(X, Y, t))) == pytest.approx(t * length, abs=1e-14)
        assert float(distance("geodesic", geodesic_point(X, Y, t), Y)) == pytest.approx((1 - t) * length, abs=1e-14)
    assert projector_gap(geodesic_point(X, Y, 1.0), Y) < 1e-14


def test_midpoint_in_closed_form(haar, projector_gap):
    """orth(X + Y R Q^T) with X^T Y = Q diag(c) R^T."""
    X, Y = haar(12, 3), haar(12, 3)
    Q, _, Rt = torch.linalg.svd(X.mT @ Y)
    bisector = torch.linalg.qr(X + Y @ (Q @ Rt).mT)[0]
    assert projector_gap(geodesic_point(X, Y, 0.5), bisector) < 1e-14


def test_one_fraction_for_each_element_of_a_batch(haar):
    X, Y, t = haar(3, 10, 2), haar(3, 10, 2), torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    alone = torch.stack([geodesic_point(x, y, float(s)) for x, y, s in zip(X, Y, t, strict=True)])
    torch.testing.assert_close(geodesic_point(X, Y, t), alone, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 4e-15)], ids=str)
def test_a_long_walk_stays_orthonormal(haar, tangent, dtype, bound):
    X = haar(40, 6, dtype=dtype)
    U = tangent(X, 0.3)
    for _ in range(300):
        X, U = expmap_transport(X, U, U)
    assert orthonormality_error(X) < bound
