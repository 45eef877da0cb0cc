"""Products of low-rank matrices as factors, against the dense float64 products: exact, and the best of lower rank."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.adapters.parametrisations.matrix_products import Pair, hadamard, kronecker
from lorafold.adapters.parametrisations.truncation import Factors, leading, truncate
from tests.adapters.samples import normal

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def pair(m: int, n: int, r: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Pair:
    return normal(m, r, seed=seed, dtype=dtype), normal(r, n, seed=seed + 1, dtype=dtype)


def dense(factors: Pair) -> Tensor:
    return factors[0].double() @ factors[1].double()


def tail(matrix: Tensor, rank: int) -> float:
    """The share of energy past the leading singular values (Eckart & Young)."""
    energies = torch.linalg.svdvals(matrix).square()
    return float(energies[rank:].sum() / energies.sum())


def check(found: Factors, expected: Tensor, rank: int, dtype: torch.dtype = torch.float64) -> None:
    """The best approximation of at most this rank, and the truth about what it loses."""
    assert found.up.shape == (len(expected), found.down.shape[0]) and found.down.shape[1] == expected.shape[1]
    assert found.up.shape[1] <= rank
    error = float((dense(found[:2]) - expected).square().sum() / expected.square().sum())
    accuracy = 1e-12 if dtype is torch.float64 else 1e-6
    assert error == pytest.approx(tail(expected, rank), abs=accuracy) == pytest.approx(found.lost, abs=accuracy)
    assert found.up.dtype == found.down.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("m", "n", "r1", "r2", "rank", "width"),
    [
        pytest.param(17, 23, 2, 3, None, 6, id="exact pair"),
        pytest.param(17, 23, 2, 3, 6, 6, id="just fits"),
        pytest.param(17, 23, 3, 3, 4, 4, id="cut"),
        pytest.param(23, 17, 5, 5, 8, 8, id="wider than it can be, cut, tall"),
        pytest.param(5, 9, 4, 4, None, 5, id="wider than it can be, exact"),
        pytest.param(9, 5, 4, 4, 64, 5, id="wider than it can be, exact, tall"),
        pytest.param(1, 7, 1, 1, 1, 1, id="one row"),
    ],
)
def test_hadamard(m: int, n: int, r1: int, r2: int, rank: int | None, width: int, dtype: torch.dtype) -> None:
    first, second = pair(m, n, r1, 0, dtype), pair(m, n, r2, 5, dtype)
    found = hadamard(first, second, rank)
    assert found.up.shape[1] == width
    check(found, dense(first) * dense(second), rank or min(m, n), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("one", "two", "rank", "width"),
    [
        pytest.param((3, 4, 2), (5, 6, 2), None, 4, id="exact pair"),
        pytest.param((3, 4, 2), (5, 6, 2), 4, 4, id="just fits"),
        pytest.param((3, 4, 2), (5, 6, 3), 5, 5, id="cut"),
        pytest.param((3, 4, 3), (7, 6, 6), 10, 10, id="both of full rank, cut"),
        pytest.param((3, 4, 8), (5, 6, 9), None, 15, id="factors wider than they can be"),
        pytest.param((1, 1, 1), (5, 6, 5), 1, 1, id="a number, cut to one direction"),
        pytest.param((4, 1, 1), (1, 6, 1), None, 1, id="column and row"),
    ],
)
def test_kronecker(
    one: tuple[int, int, int], two: tuple[int, int, int], rank: int | None, width: int, dtype: torch.dtype
) -> None:
    first, second = pair(*one, 0, dtype), pair(*two, 5, dtype)
    found = kronecker(first, second, rank)
    assert found.up.shape[1] == width
    expected = torch.kron(dense(first), dense(second))
    check(found, expected, rank or min(expected.shape), dtype)


@pytest.mark.parametrize("product", [hadamard, kronecker])
@pytest.mark.parametrize("rank", [None, 1, 3])
def test_a_zero_product_is_zero_and_loses_nothing(product, rank) -> None:
    zero = torch.zeros(6, 2), normal(2, 5)
    found = product(zero, pair(6, 5, 2, dtype=torch.float32), rank)
    assert found.lost == 0.0 and not dense(found[:2]).any() and found.up.isfinite().all()


def test_factors_are_balanced() -> None:
    up, down, _ = truncate(pair(20, 30, 20)[0] @ pair(20, 30, 20)[1], 6)
    torch.testing.assert_close(up.T @ up, down @ down.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(1100, 1300), (1300, 1100)])
def test_large_matrices_lose_little_more_than_the_best(shape: tuple[int, int]) -> None:
    """Too large for the exact way; a flat spectrum is the worst case."""
    matrix = normal(*shape, dtype=torch.float32).double()
    U, S, Vh = leading(matrix, 16)
    assert (U.shape, Vh.shape) == ((shape[0], 16), (16, shape[1]))
    torch.testing.assert_close(U.T @ matrix @ Vh.T, torch.diag(S), rtol=0, atol=1e-8 * float(S[0]))
    best = torch.linalg.eigvalsh(matrix @ matrix.T).flip(0)[:16].sum()
    assert 0.97 * best <= S.square().sum() <= best * (1 + 1e-9)


def test_large_matrices_of_low_rank_are_exact() -> None:
    matrix = dense(pair(1200, 1100, 8))
    found = truncate(matrix, 8)
    assert found.lost < 1e-12
    torch.testing.assert_close(dense(found[:2]), matrix, rtol=0, atol=1e-9)
