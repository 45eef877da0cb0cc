"""The norm of statistics against dense matrices."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lorafold.calibration.metric import Metric, second_moments, total
from tests.builders import Source
from tests.builders import one_thread as one_thread
from tests.statistics import kept_moment, layer_statistics, random_moment

CPU = torch.device("cpu")


def dense(metric: Metric) -> Tensor:
    return torch.diag_embed(metric.diagonal) + metric.factor @ metric.factor.mT


def with_ridge(C: Tensor, ridge: float) -> Tensor:
    return C + ridge * C.trace() / len(C) * torch.eye(len(C), dtype=torch.float64)


def moments(n: int, count: int, seed: int = 0) -> list[Tensor]:
    source = Source(seed)
    return [random_moment(source, n) for _ in range(count)]


@pytest.mark.parametrize("k", [0, 1, 5, 12])
def test_diagonal_and_directions_with_a_ridge(k):
    found = moments(12, 3)
    metric = second_moments([layer_statistics(C, k) for C in found], 0.1, CPU)
    assert_close(dense(metric), torch.stack([with_ridge(kept_moment(C, k), 0.1) for C in found]))


def test_all_directions_are_the_whole_matrix():
    found = moments(12, 3)
    metric = second_moments([layer_statistics(C, 12) for C in found], 0.01, CPU)
    assert_close(dense(metric), torch.stack([with_ridge(C, 0.01) for C in found]))


def test_layers_of_different_numbers_of_directions():
    found = [layer_statistics(C, k) for C, k in zip(moments(9, 2), (2, 4), strict=True)]
    alone = [dense(second_moments([one], 0.01, CPU)) for one in found]
    assert_close(dense(second_moments(found, 0.01, CPU)), torch.cat(alone))


@pytest.mark.parametrize("k", [0, 3, 10])
@pytest.mark.parametrize("ridge", [0.1, 1e-6])
def test_the_inverse_undoes_it_and_embedding_keeps_inner_products(k, ridge):
    of_adapters = [second_moments([layer_statistics(C, k) for C in moments(10, 2, s)], ridge, CPU) for s in (1, 2)]
    metric = total(of_adapters, torch.tensor([[0.3, 0.7], [1.0, 0.0]], dtype=torch.float64))
    X, T = Source(1).normal(2, 10, 4), dense(metric)
    assert_close(T[1], dense(of_adapters[0])[1])
    assert_close(metric.apply(X), T @ X)
    assert_close(metric.solve(metric.apply(X)), X, rtol=1e-8, atol=1e-8)
    assert_close(metric.solve(X), torch.linalg.solve(T, X), rtol=1e-7, atol=1e-7)
    assert_close(metric.embed(X).mT @ metric.embed(X), X.mT @ T @ X)
    assert_close(metric.level, T.diagonal(dim1=-2, dim2=-1).mean(-1))


def test_any_basis_of_an_eigenspace_serves():
    source = Source(2)
    Q = source.haar(8, 3)
    one = layer_statistics(2 * Q @ Q.mT, 3)
    other = replace(one, directions=Q @ source.haar(3, 3), eigenvalues=torch.full((3,), 2.0))
    assert_close(dense(second_moments([one], 0.1, CPU)), dense(second_moments([other], 0.1, CPU)))


def test_inputs_that_are_zero_give_nothing():
    nothing = second_moments([layer_statistics(torch.zeros(8, 8, dtype=torch.float64), 3)], 0.1, CPU)
    assert not bool(dense(nothing).any())
