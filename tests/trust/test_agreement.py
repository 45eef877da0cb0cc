"""Agreement with code of other people: geometry with pymanopt and geomstats, merged updates with dense sums.

Points here are frames X (n, k); geomstats has projectors P = X Xᵀ, where distances are larger by √2.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import lorafold
from lorafold.geometry import DISTANCES, chordal_mean, distance, expmap, karcher_mean, logmap, principal_angles
from tests import oracles
from tests.builders import Source, random_adapter
from tests.builders import one_thread as one_thread

SIZES = [(4, 1), (10, 3), (12, 6), (30, 5)]
Array = NDArray[np.float64]


def imported(name: str) -> Any:
    """The module, or a skip; what it warns of at import is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("geomstats") and not hasattr(np, "trapz"):
            setattr(np, "trapz", np.trapezoid)  # noqa: B010  # geomstats 2.8 still asks numpy for it
        return pytest.importorskip(name, exc_type=ImportError)


def near(X: Tensor, source: Source, size: float = 0.5) -> Tensor:
    """A frame not too far from X."""
    return torch.linalg.qr(X + size * source.haar(*X.shape))[0]


def projector(X: Any) -> Array:
    X = np.asarray(X)
    return X @ X.T


@pytest.fixture(params=SIZES, ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    source = Source(sum(request.param))
    return source.haar(*request.param), source.haar(*request.param)


@pytest.fixture(params=SIZES, ids=str)
def cloud(request: pytest.FixtureRequest) -> list[Tensor]:
    source = Source(sum(request.param))
    centre = source.haar(*request.param)
    return [near(centre, source) for _ in range(4)]


class TestPymanopt:
    def manifold(self, X: Tensor) -> Any:
        return imported("pymanopt.manifolds").Grassmann(*X.shape)

    def test_distance_log_and_exp(self, pair: tuple[Tensor, Tensor]) -> None:
        X, Y = pair
        manifold = self.manifold(X)
        assert float(distance("geodesic", X, Y)) == pytest.approx(manifold.dist(X.numpy(), Y.numpy()), abs=1e-12)
        log = manifold.log(X.numpy(), Y.numpy())
        np.testing.assert_allclose(logmap(X, Y).numpy(), log, rtol=0, atol=1e-12)
        end = manifold.exp(X.numpy(), 0.7 * log)
        np.testing.assert_allclose(projector(expmap(X, torch.tensor(0.7 * log))), projector(end), rtol=0, atol=1e-12)

    def minimised(self, manifold: Any, cost: Any, gradient: Any, start: Array) -> Array:
        pymanopt = imported("pymanopt")
        wrapped = [pymanopt.function.numpy(manifold)(function) for function in (cost, gradient)]
        problem = pymanopt.Problem(manifold, wrapped[0], riemannian_gradient=wrapped[1])
        solver = imported("pymanopt.optimizers").SteepestDescent(
            min_gradient_norm=1e-11, max_iterations=2000, verbosity=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(solver.run(problem, initial_point=start).point)

    def test_chordal_mean(self, cloud: list[Tensor]) -> None:
        frames = [X.numpy() for X in cloud]
        manifold = self.manifold(cloud[0])
        total = sum(projector(X) for X in frames)
        found = self.minimised(
            manifold,
            lambda X: -float(np.trace(X.T @ total @ X)),
            lambda X: manifold.projection(X, -2 * total @ X),
            frames[0],
        )
        mean = chordal_mean([X[None] for X in cloud], cloud[0].shape[1], [0.25] * 4).point[0]
        np.testing.assert_allclose(projector(mean), projector(found), rtol=0, atol=1e-6)

    def test_karcher_mean(self, cloud: list[Tensor]) -> None:
        """Their log and their optimiser."""
        frames = [X.numpy() for X in cloud]
        manifold = self.manifold(cloud[0])
        found = self.minimised(
            manifold,
            lambda X: sum(manifold.dist(X, Y) ** 2 for Y in frames) / 8,
            lambda X: -sum(manifold.log(X, Y) for Y in frames) / 4,
            frames[0],
        )
        mean = karcher_mean([X[None] for X in cloud], weights=[0.25] * 4).point[0]
        np.testing.assert_allclose(projector(mean), projector(found), rtol=0, atol=1e-6)


class TestGeomstats:
    def manifold(self, X: Tensor) -> Any:
        return imported("geomstats.geometry.grassmannian").Grassmannian(*X.shape)

    def test_distance_log_and_exp(self, pair: tuple[Tensor, Tensor]) -> None:
        X, Y = pair
        metric = self.manifold(X).metric
        P, Q = projector(X), projector(Y)
        assert math.sqrt(2) * float(distance("geodesic", X, Y)) == pytest.approx(float(metric.dist(P, Q)), abs=1e-7)
        U = logmap(X, Y)
        lifted = (U @ X.mT + X @ U.mT).numpy()
        np.testing.assert_allclose(lifted, metric.log(Q, P), rtol=0, atol=1e-7)
        np.testing.assert_allclose(projector(expmap(X, 0.7 * U)), metric.exp(0.7 * lifted, P), rtol=0, atol=1e-9)

    def test_karcher_mean(self, cloud: list[Tensor]) -> None:
        """Their logarithms at our mean add up to nothing, and their sum of squares is larger anywhere near it."""
        metric = self.manifold(cloud[0]).metric
        found = karcher_mean([X[None] for X in cloud], weights=[0.25] * 4).point[0]
        points = [projector(X) for X in cloud]
        logs = [metric.log(P, projector(found)) for P in points]
        assert np.linalg.norm(sum(logs)) < 1e-6 * sum(np.linalg.norm(log) for log in logs)

        def spread(at: Tensor) -> float:
            return sum(float(metric.squared_dist(projector(at), P)) for P in points)

        assert all(spread(near(found, Source(i), 1e-2)) > spread(found) for i in range(5))


def test_angles_and_distances_of_scipy(pair: tuple[Tensor, Tensor]) -> None:
    subspace_angles = imported("scipy.linalg").subspace_angles
    X, Y = pair
    theirs = np.sort(subspace_angles(X.numpy(), Y.numpy()))
    np.testing.assert_allclose(np.sort(principal_angles(X, Y).numpy()), theirs, rtol=0, atol=1e-12)
    formulas = {
        "chordal": np.linalg.norm(np.sin(theirs)),
        "geodesic": np.linalg.norm(theirs),
        "procrustes": 2 * np.linalg.norm(np.sin(theirs / 2)),
        "asimov": theirs.max(),
    }
    for name in formulas.keys() & set(DISTANCES):
        assert float(distance(name, X, Y)) == pytest.approx(formulas[name], abs=1e-12)


WEIGHT = st.floats(-2, 2, allow_nan=False).filter(lambda weight: abs(weight) > 1e-3)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[lorafold.Adapter], list[float]]:
    shapes = {f"l{i}": (draw(st.integers(1, 9)), draw(st.integers(1, 9))) for i in range(draw(st.integers(1, 3)))}
    count = draw(st.integers(1, 3))
    adapters = [
        random_adapter("kohya", shapes, draw(st.integers(1, 6)), seed=draw(st.integers(0, 99)), scale=draw(WEIGHT))
        for _ in range(count)
    ]
    return adapters, draw(st.lists(WEIGHT, min_size=count, max_size=count))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems())
def test_merged_updates_are_the_dense_sums(problem: tuple[list[lorafold.Adapter], list[float]]) -> None:
    """rank=max keeps all of Σ w_i ΔW_i; subspace_weight=0 is its truncated SVD."""
    adapters, weights = problem
    updates = [oracles.updates(adapter) for adapter in adapters]
    size = max(abs(w) * float(delta.norm()) for w, own in zip(weights, updates, strict=True) for delta in own.values())
    exact = oracles.updates(lorafold.merge(adapters, weights=weights, rank="max", solver="alternating").adapter)
    cut = lorafold.merge(adapters, weights=weights, rank=1, subspace_weight=0, solver="alternating").adapter
    for name, found in exact.items():
        total = oracles.target([own[name] for own in updates], weights)
        assert float((found - total).norm()) <= 1e-9 * size
        best = float(torch.linalg.svdvals(total)[1:].norm())
        assert float((oracles.update(cut.modules[name]) - total).norm()) <= best * (1 + 1e-6) + 1e-9 * size
