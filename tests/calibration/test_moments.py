"""Running moments against those of all vectors at once, dense and in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lorafold.calibration.moments import RunningMoments
from tests.builders import Source
from tests.builders import one_thread as one_thread

CPU = torch.device("cpu")


def decaying(count: int, n: int, decay: float, seed: int = 0) -> Tensor:
    """Vectors whose second moment has eigenvalues exp(-2 decay i), about."""
    source = Source(seed)
    return source.normal(count, n) * torch.exp(-decay * torch.arange(n)) @ source.haar(n, n).mT


def running(x: Tensor, directions: int, batch: int, dtype: torch.dtype = torch.float64) -> RunningMoments:
    moments = RunningMoments(x.shape[1], directions, CPU, dtype)
    for part in x.split(batch):
        moments.add(part)
    return moments


def dense(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors, the largest first."""
    values, vectors = torch.linalg.eigh(x.double().mT @ x.double() / len(x))
    return values.flip(0), vectors.flip(1)


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_with_all_directions_it_is_the_dense_moment(batch: int) -> None:
    x = decaying(500, 12, 0.2)
    moments = running(x, 12, batch)
    vectors, values = moments.eigenpairs(12)
    moment = x.mT @ x / 500
    torch.testing.assert_close((vectors * values) @ vectors.mT, moment, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(12, dtype=torch.float64), rtol=0, atol=1e-11)
    torch.testing.assert_close(moments.diagonal, moment.diagonal(), rtol=1e-13, atol=0)
    torch.testing.assert_close(values, dense(x)[0], rtol=1e-10, atol=0)


@pytest.mark.parametrize("batch", [3, 90, 5000])
def test_few_directions_of_a_decaying_spectrum_are_the_leading_ones(batch: int) -> None:
    x = decaying(3000, 200, 0.08)
    vectors, values = running(x, 8, batch).eigenpairs(8)
    expected, directions = dense(x)
    torch.testing.assert_close(values, expected[:8], rtol=1e-3, atol=0)
    assert float((directions[:, :8].mT @ vectors).square().sum()) > 8 * 0.999
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("batch", [11, 4000])
def test_it_never_finds_more_than_there_is(batch: int) -> None:
    """What the directions hold is part of the second moment, also where nothing stands out."""
    x = Source(1).normal(4000, 150)
    moments = running(x, 6, batch)
    vectors, values = moments.eigenpairs(6)
    inside = (x @ vectors).square().sum(0) / len(x)
    assert bool((values <= inside * (1 + 1e-9)).all())
    assert bool(((vectors.square() * values).sum(1) <= moments.diagonal * (1 + 1e-9)).all())


def test_the_order_of_batches_hardly_matters() -> None:
    x = decaying(2000, 100, 0.1)
    one, other = (running(rows, 6, 50).eigenpairs(6) for rows in (x, x.flip(0)))
    torch.testing.assert_close(one[1], other[1], rtol=1e-4, atol=0)
    assert float((one[0].mT @ other[0]).square().sum()) > 6 * 0.9999


def test_fewer_vectors_than_directions_give_as_many_as_they_are() -> None:
    x = Source(2).normal(3, 40)
    vectors, values = running(x, 16, 2).eigenpairs(16)
    torch.testing.assert_close((vectors * values) @ vectors.mT, x.mT @ x / 3, rtol=1e-10, atol=1e-12)
    assert vectors.shape == (40, 3)


@pytest.mark.parametrize("count", [0, 40])
def test_nothing_and_zeros_have_no_directions(count: int) -> None:
    moments = RunningMoments(5, 3, CPU)
    moments.add(torch.zeros(count, 5))
    vectors, values = moments.eigenpairs(3)
    assert vectors.shape == (5, 0) and values.shape == (0,)
    assert torch.equal(moments.diagonal, torch.zeros(5).double())


def test_tokens_are_unit_vectors() -> None:
    tokens = torch.tensor([4, 0, 4, 2, 4])
    moments, spelt = RunningMoments(6, 0, CPU), RunningMoments(6, 0, CPU)
    moments.add_tokens(tokens)
    spelt.add(torch.eye(6)[tokens])
    torch.testing.assert_close(moments.diagonal, spelt.diagonal)
    assert moments.count == 5


def test_infinite_vectors_show_in_the_diagonal_and_stop_nothing() -> None:
    moments = RunningMoments(5, 2, CPU)
    for _ in range(30):
        moments.add(torch.full((9, 5), float("inf")))
    assert not moments.diagonal.isfinite().any()
    assert moments.eigenpairs(2)[0].shape == (5, 0)


class Largest(TorchDispatchMode):
    """The most elements that any new tensor has."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        found = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.elements = max([self.elements, *found])
        return result


@pytest.mark.parametrize("batch", [5, 3000])
def test_no_matrix_of_n_by_n_is_formed(batch: int) -> None:
    n, k = 5000, 4
    parts = [torch.randn(batch, n, generator=torch.Generator().manual_seed(i)) for i in range(-(-3000 // batch))][:20]
    with Largest() as largest:
        moments = RunningMoments(n, k, CPU)
        for part in parts:
            moments.add(part)
        moments.eigenpairs(k)
    assert largest.elements <= (1024 + 2 * 24) * n < n * n / 4
