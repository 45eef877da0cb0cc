"""Gradients on Grassmann manifolds and geoopt's optimiser on them."""

from __future__ import annotations

import geoopt
import pytest
import torch

from lorafold.geometry import Grassmann, GrassmannExact, orthonormality_error

PLAIN = [Grassmann, GrassmannExact]


def assert_close(actual, expected, atol):
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("make", PLAIN)
def test_riemannian_gradient_against_finite_differences(haar, tangent, make):
    """f = tr(x^T A x) depends on the span alone."""
    manifold, x = make(), haar(15, 3)
    A = torch.randn(15, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def f(point):
        return torch.einsum("nk,nm,mk->", point, A, point)

    gradient = manifold.egrad2rgrad(x, (A + A.mT) @ x)
    for _ in range(5):
        u = tangent(x, 1.0)
        slope = (f(manifold.retr(x, 1e-5 * u)) - f(manifold.retr(x, -1e-5 * u))) / 2e-5
        assert float(manifold.inner(x, gradient, u)) == pytest.approx(float(slope), abs=1e-8)


def adam_walk(manifold, start, A, steps):
    """Points of RiemannianAdam on tr(x^T A x), and its momentum."""
    x = geoopt.ManifoldParameter(start.clone(), manifold=manifold)
    optimizer = geoopt.optim.RiemannianAdam([x], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.einsum("...nk,nm,...mk->", x, A, x).backward()
        optimizer.step()
    return x.detach().clone(), optimizer.state[x]["exp_avg"]


@pytest.mark.parametrize("make", PLAIN)
def test_optimisation_does_not_depend_on_the_frame(haar, make):
    """From x Q, RiemannianAdam visits the same subspaces with the same momentum."""
    A = torch.diag(torch.arange(12, dtype=torch.float64))
    x, Q = haar(3, 12, 4), haar(3, 4, 4)
    (point, momentum), (turned, turned_momentum) = (adam_walk(make(), start, A, 40) for start in (x, x @ Q))
    assert (point - x).abs().max() > 0.3
    assert_close(turned, point @ Q, 1e-12)
    assert_close(turned_momentum, momentum @ Q, 1e-12)


@pytest.mark.parametrize("make", PLAIN)
def test_momentum_lifts_exactly_through_one_step(haar, tangent, make):
    manifold, x, Q = make(), haar(5, 96, 16), haar(5, 16, 16)
    u, v = tangent(x, 0.5), tangent(x, 1.0)
    y, moved = manifold.retr_transp(x, u, v)
    turned_y, turned = manifold.retr_transp(x @ Q, u @ Q, v @ Q)
    assert_close(turned_y, y @ Q, 4e-15)
    assert_close(turned, moved @ Q, 4e-15)


@pytest.mark.parametrize("make", PLAIN)
@pytest.mark.parametrize(("precision", "bound"), [(torch.float32, 2e-6), (torch.float64, 4e-15)], ids=str)
def test_riemannian_adam_finds_the_smallest_eigenspace(haar, make, precision, bound):
    A = torch.diag(torch.linspace(0, 3, 12)).to(precision)
    start = haar(3, 12, 4, dtype=precision)
    point, _ = adam_walk(make(), start, A, 300)
    assert orthonormality_error(point).max() < bound
    smallest = geoopt.ManifoldTensor(torch.eye(12, 4, dtype=precision), manifold=make())
    assert (make().dist(point, smallest.expand_as(point)) < 1e-3).all()


@pytest.mark.parametrize("make", PLAIN)
def test_distance_as_a_loss(haar, make):
    """Gradient descent on d^2 / 2 with step 1 arrives at once along the geodesic; there the slope of d is finite."""
    manifold, x, y = make(), haar(10, 3).requires_grad_(), haar(10, 3)
    (manifold.dist2(x, y) / 2).backward()
    reached = manifold.expmap(x.detach(), -manifold.egrad2rgrad(x.detach(), x.grad))
    assert float(manifold.dist(reached, y)) < 1e-14
    for point in (reached, y, manifold.origin(10, 3, dtype=y.dtype) + 0):
        same = point.clone().requires_grad_()
        manifold.dist(same, point).backward()
        assert torch.isfinite(same.grad).all()


def test_parameters_and_optimiser_state_survive_a_state_dict(haar):
    A = torch.diag(torch.arange(8, dtype=torch.float64))
    x = geoopt.ManifoldParameter(haar(8, 2), manifold=Grassmann())
    module = torch.nn.ParameterDict({"x": x})
    point, _ = adam_walk(x.manifold, x.data, A, 3)
    module.load_state_dict({"x": point})
    assert isinstance(module["x"].manifold, Grassmann)
    assert torch.equal(module["x"].detach(), point)
