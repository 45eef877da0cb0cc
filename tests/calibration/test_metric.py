"""The norm of statistics against dense matrices."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lorafold.calibration import LayerStatistics
from lorafold.calibration.metric import Metric, moments
from tests.builders import Source
from tests.builders import one_thread as one_thread
from tests.layer_statistics import kept_moment, layer_statistics, random_moment


def dense(metric: Metric) -> Tensor:
    return torch.diag_embed(metric.diagonal) + (metric.directions * metric.sizes[:, None]) @ metric.directions.mT


def with_ridge(C: Tensor, ridge: float) -> Tensor:
    return C + ridge * C.trace() / len(C) * torch.eye(len(C), dtype=torch.float64)


def found(n: int, count: int, seed: int = 0) -> list[Tensor]:
    source = Source(seed)
    return [random_moment(source, n) for _ in range(count)]


def alone(layers: list[LayerStatistics], ridge: float) -> Metric:
    """Of one adapter, in its own unit: tr T = n."""
    ones = torch.ones(len(layers), 1, dtype=torch.float64)
    return moments([layers], ones, ones, ridge).mean


def in_unit(C: Tensor) -> Tensor:
    return C * len(C) / C.trace()


@pytest.mark.parametrize("k", [0, 1, 5, 12])
def test_diagonal_and_directions_with_a_ridge(k):
    all_of = found(12, 3)
    want = torch.stack([in_unit(with_ridge(kept_moment(C, k), 0.1)) for C in all_of])
    assert_close(dense(alone([layer_statistics(C, k) for C in all_of], 0.1)), want)


def test_all_directions_are_the_whole_matrix():
    all_of = found(12, 3)
    want = torch.stack([in_unit(with_ridge(C, 0.01)) for C in all_of])
    assert_close(dense(alone([layer_statistics(C, 12) for C in all_of], 0.01)), want)


def test_layers_of_different_numbers_of_directions():
    layers = [layer_statistics(C, k) for C, k in zip(found(9, 2), (2, 4), strict=True)]
    assert_close(dense(alone(layers, 0.01)), torch.cat([dense(alone([layer], 0.01)) for layer in layers]))


@pytest.mark.parametrize("k", [0, 3, 10])
@pytest.mark.parametrize("ridge", [0.1, 1e-6])
def test_the_mean_and_what_is_done_with_it(k, ridge):
    all_of = [found(10, 2, seed) for seed in (1, 2)]
    strengths = torch.tensor([[1.0, 0.2], [0.5, 1.0]], dtype=torch.float64)
    shares = torch.tensor([[0.3, 0.7], [1.0, 0.0]], dtype=torch.float64)
    norms = moments([[layer_statistics(C, k) for C in own] for own in all_of], strengths, shares, ridge)
    M = torch.stack([torch.stack([with_ridge(kept_moment(C, k), ridge) for C in own]) for own in all_of], 1)
    M = strengths[..., None, None] * M
    T = (shares[..., None, None] * M).sum(1)
    unit = 10 / T.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    assert_close(dense(norms.mean), unit * T)
    assert_close(torch.stack([dense(own) for own in norms.of_adapters], 1), unit[:, None] * M)
    X, T = Source(1).normal(2, 10, 4), unit * T
    assert_close(norms.mean.gram(X), X.mT @ T @ X)


@pytest.mark.parametrize("shares", [(0.3, 0.7), (1.0, 0.0)])
@pytest.mark.parametrize(("k", "ridge"), [(4, 0.1), (4, 1e-9), (12, 1e-6)])
def test_columns_moved_by_the_mean(k, ridge, shares):
    """[T⁻¹M_1X_1, T⁻¹M_2X_2], also where the diagonal is next to nothing."""
    source = Source(3)
    all_of = [[random_moment(source, 12)] for _ in shares]
    norms = moments(
        [[layer_statistics(C, k) for C in own] for own in all_of],
        torch.ones(1, 2, dtype=torch.float64),
        torch.tensor([shares], dtype=torch.float64),
        ridge,
    )
    T, M, X = norms.mean, norms.of_adapters, [source.normal(1, 12, r) for r in (2, 3)]
    P = torch.cat([quotient[..., None] * own for quotient, own in zip(norms.quotients(), X, strict=True)], -1)
    own = [one.directions.mT @ x for one, x in zip(M, X, strict=True)]
    C = norms.solve(own, T.directions.mT @ P, T.directions.mT @ T.scaled)
    right = torch.cat([dense(one) @ x for one, x in zip(M, X, strict=True)], -1)
    assert_close(P + T.scaled @ C, torch.linalg.solve(dense(T), right), rtol=1e-6, atol=1e-9)
    assert_close(dense(T) @ (P + T.scaled @ C), right, rtol=1e-8, atol=1e-9)


def test_any_basis_of_an_eigenspace_serves():
    source = Source(2)
    Q = source.haar(8, 3)
    one = layer_statistics(2 * Q @ Q.mT, 3)
    other = replace(one, directions=Q @ source.haar(3, 3), eigenvalues=torch.full((3,), 2.0))
    assert_close(dense(alone([one], 0.1)), dense(alone([other], 0.1)))
