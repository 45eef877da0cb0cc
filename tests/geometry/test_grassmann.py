"""The property table of geoopt's manifolds for Grassmann and GrassmannExact, plain and under Scaled.

A case holds a point x, the ambient ex that projects to it, a tangent vector v and the ambient ev that projects to it.
Tangent vectors stay inside the injectivity radius pi/2, and subspaces are compared by their projectors.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import geoopt
import pytest
import torch
from geoopt.manifolds.base import Manifold
from torch import Tensor

from lorafold.geometry import Grassmann, GrassmannExact

N, K = 10, 5
MANIFOLDS = {
    "Grassmann": Grassmann,
    "GrassmannExact": GrassmannExact,
    "Scaled(Grassmann)": lambda: geoopt.Scaled(Grassmann(), 2),
    "Scaled(GrassmannExact)": lambda: geoopt.Scaled(GrassmannExact(), 2),
}
PLAIN = [Grassmann, GrassmannExact]


class UnaryCase(NamedTuple):
    shape: tuple[int, ...]
    x: Tensor
    ex: Tensor
    v: Tensor
    ev: Tensor
    manifold: Manifold
    atol: float


@pytest.fixture(params=[(N, K), (4, N, K)], ids=["one", "batch"])
def shape(request):
    return request.param


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=MANIFOLDS.values(), ids=MANIFOLDS)
def case(request, shape, dtype):
    generator = torch.Generator().manual_seed(42)
    ex, ev = (torch.randn(*shape, dtype=torch.float64, generator=generator) for _ in range(2))
    left, _, right = torch.linalg.svd(ex, full_matrices=False)
    x = left @ right
    ev = 0.2 * ev
    v = ev - x @ x.mT @ ev
    x, ex, v, ev = (tensor.to(dtype) for tensor in (x, ex, v, ev))
    manifold = request.param()
    x = geoopt.ManifoldTensor(x, manifold=manifold)
    return UnaryCase(shape, x, ex, v, ev, manifold, 100 * torch.finfo(dtype).eps)


def another_tangent(case):
    noise = torch.randn(case.shape, generator=torch.Generator().manual_seed(1)).to(case.x.dtype)
    return case.manifold.proju(case.x, noise)


def assert_close(actual, expected, atol):
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol, check_dtype=True)


def test_projection_onto_the_manifold(case):
    assert_close(case.manifold.projx(case.x), case.x + 0, case.atol)
    projected = case.manifold.projx(case.ex)
    case.manifold.assert_check_point_on_manifold(projected)
    assert_close(projected, case.x + 0, 10 * case.atol)


def test_projection_onto_the_tangent_space(case):
    projected = case.manifold.proju(case.x, case.ev)
    case.manifold.assert_check_vector_on_tangent(case.x, projected)
    assert_close(projected, case.v, case.atol)
    assert_close(case.manifold.proju(case.x, projected), projected, case.atol)
    assert_close(case.manifold.egrad2rgrad(case.x, case.ev), projected, 0)


def test_inner_products_and_norms(case):
    w = another_tangent(case)
    expected = torch.einsum("...nk,...nk->...", case.v, w)
    assert_close(case.manifold.inner(case.x, case.v, w), expected, case.atol)
    assert_close(case.manifold.norm(case.x, case.v).square(), case.manifold.inner(case.x, case.v), case.atol)
    keepdim = case.manifold.inner(case.x, case.v, w, keepdim=True)
    assert keepdim.shape == (*case.shape[:-2], 1, 1)
    assert_close(keepdim, case.manifold.component_inner(case.x, case.v, w), 0)


@pytest.mark.parametrize("method", ["retr", "expmap"])
def test_retractions_stay_on_the_manifold_and_move_as_told(case, method):
    retract = getattr(case.manifold, method)
    case.manifold.assert_check_point_on_manifold(retract(case.x, case.v))
    assert_close(retract(case.x, torch.zeros_like(case.v)), case.x + 0, case.atol)
    step = torch.finfo(case.x.dtype).eps ** (1 / 3)
    scale = getattr(case.manifold, "scale", 1)
    speed = (retract(case.x, step * case.v) - retract(case.x, -step * case.v)) / (2 * step)
    assert_close(speed * scale, case.v, 10 * step**2)


@pytest.mark.parametrize("method", ["retr", "expmap"])
def test_transports_follow_their_retraction(case, method):
    w = another_tangent(case)
    y, moved = getattr(case.manifold, f"{method}_transp")(case.x, case.v, w)
    assert_close(y, getattr(case.manifold, method)(case.x, case.v), 0)
    case.manifold.assert_check_vector_on_tangent(y, moved)
    assert_close(getattr(case.manifold, f"transp_follow_{method}")(case.x, case.v, w), moved, 0)
    if method == "retr" or isinstance(getattr(case.manifold, "base", case.manifold), GrassmannExact):
        assert_close(case.manifold.transp(case.x, y, w), moved, 2 * case.atol)


@pytest.mark.parametrize("method", ["retr", "expmap"])
def test_batches_equal_their_elements(case, method):
    stack = torch.stack([case.x + 0] * 3)
    steps = torch.stack([case.v, -case.v, 0.1 * case.v])
    together = getattr(case.manifold, f"{method}_transp")(stack, steps, steps)
    for i, step in enumerate(steps):
        alone = getattr(case.manifold, f"{method}_transp")(case.x, step, step)
        for a, b in zip(together, alone, strict=True):
            assert_close(a[i], b, case.atol)


def test_reversible_exactly_if_declared(case):
    y, w = case.manifold.retr_transp(case.x, case.v, case.v)
    x, v = case.manifold.retr_transp(y, -w, w)
    back = torch.allclose(x, case.x, rtol=0, atol=case.atol) and torch.allclose(v, case.v, rtol=0, atol=case.atol)
    assert back == case.manifold.reversible


def test_logmap_inverts_expmap(case, projector_gap):
    y = case.manifold.expmap(case.x, case.v)
    assert_close(case.manifold.logmap(case.x, y), case.v, case.atol)
    target = case.manifold.random(*case.shape, dtype=case.x.dtype)
    reached = case.manifold.expmap(case.x, case.manifold.logmap(case.x, target))
    assert projector_gap(reached, target) < case.atol


def test_distance_is_the_length_of_the_geodesic(case):
    y = case.manifold.expmap(case.x, case.v)
    length = case.manifold.norm(case.x, case.v)
    assert_close(case.manifold.dist(case.x, y), length, case.atol)
    assert_close(case.manifold.dist2(case.x, y), length.square(), case.atol)
    assert_close(case.manifold.dist(y, case.x, keepdim=True), length[..., None, None], case.atol)
    assert (case.manifold.dist(case.x, case.x) < case.atol).all()


def test_random_and_origin(case):
    for point in (
        case.manifold.random(*case.shape, dtype=case.x.dtype),
        case.manifold.random(case.shape, dtype=case.x.dtype),
        case.manifold.origin(*case.shape, dtype=case.x.dtype),
        case.manifold.origin(case.shape, dtype=case.x.dtype),
    ):
        assert isinstance(point, geoopt.ManifoldTensor)
        assert point.shape == case.shape
        assert point.dtype == case.x.dtype
        case.manifold.assert_check_point_on_manifold(point)


@pytest.mark.parametrize("make", PLAIN)
def test_origin_is_the_span_of_the_first_unit_vectors(make):
    """Scaled replaces it by a seeded random point."""
    origin = make().origin(2, 4, 3)
    assert_close(origin + 0, torch.eye(4, 3).expand(2, 4, 3), 0)
    assert_close(make().origin(2, 4, 3, seed=1), origin, 0)
    assert_close(origin.mul_(2).proj_() + 0, torch.eye(4, 3).expand(2, 4, 3), 0)  # can be written to


def test_checks_tell_points_and_tangent_vectors_from_others(case):
    check = case.manifold
    assert check.check_point_on_manifold(case.x)
    assert check.check_vector_on_tangent(case.x, case.v)
    assert check.check_point_on_manifold(1.01 * case.x, explain=True) == (
        False,
        "`X^T X != I` with atol=1e-05, rtol=1e-05",
    )
    # x times a skew matrix is tangent to the Stiefel manifold, but leads nowhere on this one
    skew = torch.ones(K, K, dtype=case.x.dtype).tril(-1)
    assert not check.check_vector_on_tangent(case.x, case.x @ (skew - skew.mT))
    assert check.check_point(case.x.mT + 0, explain=True)[1] == ("`x` should have shape[-1] <= shape[-2], got 10 </= 5")
    assert not check.check_point(torch.zeros(3))
    with pytest.raises(ValueError, match="not valid"):
        check.assert_check_point(torch.zeros(5, 10))


@pytest.mark.parametrize("method", ["random", "origin"])
def test_no_point_has_more_columns_than_rows(case, method):
    with pytest.raises(ValueError, match="got 10 </= 5"):
        getattr(case.manifold, method)(5, 10)


@pytest.mark.parametrize("make", PLAIN)
def test_names(make):
    assert repr(make()) == {Grassmann: "Grassmann manifold", GrassmannExact: "Grassmann(exact) manifold"}[make]


def test_polar_retraction_is_of_second_order(haar, tangent, projector_gap):
    """Halving the step divides the distance from Exp by 8."""
    manifold, x = Grassmann(), haar(20, 4)
    u = tangent(x, 1.0)
    errors = [projector_gap(manifold.retr(x, t * u), manifold.expmap(x, t * u)) for t in (0.1, 0.05, 0.025)]
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize("size", [1e-8, 1e-3, 0.5, 5.0, 1e3])
def test_polar_retraction_in_closed_form(haar, tangent, size):
    """(x + u)(I + u^T u)^{-1/2}, by dense eigenvectors."""
    x = haar(3, 20, 4)
    u = tangent(x, size)
    values, vectors = torch.linalg.eigh(torch.eye(4, dtype=torch.float64) + u.mT @ u)
    expected = (x + u) @ (vectors * values.rsqrt().unsqueeze(-2)) @ vectors.mT
    assert_close(Grassmann().retr(x, u), expected, 1e-14 * max(size, 1))


@pytest.mark.parametrize("make", PLAIN)
def test_exact_transport_is_an_isometry_that_of_projection_a_contraction(haar, tangent, make):
    manifold, x = make(), haar(5, 20, 4)
    u, v = tangent(x, 0.5), tangent(x, 1.0)
    y, moved = manifold.retr_transp(x, u, v)
    ratio = manifold.norm(y, moved) / manifold.norm(x, v)
    if make is GrassmannExact:
        assert_close(ratio, torch.ones_like(ratio), 1e-14)
    else:
        assert (ratio < 1).all()


@pytest.mark.parametrize("make", PLAIN)
def test_a_manifold_that_calls_its_steps_reversible_comes_back(haar, tangent, make):
    manifold, x = make(), haar(20, 4)
    y, moved = manifold.retr_transp(x, v := tangent(x, 0.5), v)
    back = manifold.retr(y, -moved)
    gap = (back @ back.mT - x @ x.mT).abs().max()
    assert (gap < 1e-12) == manifold.reversible


@pytest.mark.parametrize("make", PLAIN)
def test_the_checks_let_rounding_pass_and_nothing_else(haar, tangent, make):
    """Of float32, by default: 1e-5."""
    manifold, x = make(), haar(20, 4)
    u = tangent(x, 1.0)
    for error, ok in ((0.9e-5, True), (1.1e-5, False)):
        stretched = torch.cat([x[:, :1] * math.sqrt(1 + error), x[:, 1:]], 1)
        assert manifold.check_point_on_manifold(stretched) is ok
        tilted = u + error * x[:, :1] @ torch.eye(4, dtype=x.dtype)[:1]
        assert manifold.check_vector_on_tangent(x, tilted) is ok


@pytest.mark.parametrize("make", PLAIN)
def test_transport_to_any_frame_of_the_target(haar, tangent, make):
    manifold, x, Q = make(), haar(3, 20, 4), haar(3, 4, 4)
    y, moved = manifold.retr_transp(x, tangent(x, 0.5), v := tangent(x, 1.0))
    assert_close(manifold.transp(x, y @ Q, v), moved @ Q, 1e-14)


@pytest.mark.cuda
@pytest.mark.parametrize("make", PLAIN)
def test_cuda_agrees_with_the_cpu(haar, tangent, make):
    manifold, x = make(), haar(8, 48, 6)
    u, v = tangent(x, 0.1), tangent(x, 1.0)
    y = manifold.retr(x, 5 * u)
    on_device = [tensor.cuda() for tensor in (x, u, v, y)]
    expected = (*manifold.retr_transp(x, u, v), manifold.logmap(x, y), manifold.dist(x, y))
    cx, cu, cv, cy = on_device
    actual = (*manifold.retr_transp(cx, cu, cv), manifold.logmap(cx, cy), manifold.dist(cx, cy))
    for a, b in zip(actual, expected, strict=True):
        assert a.is_cuda
        assert_close(a.cpu(), b, 1e-13)
