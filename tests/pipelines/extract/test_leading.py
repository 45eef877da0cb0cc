"""Block Krylov iteration beside the dense decomposition, on spectra of every kind."""

from __future__ import annotations

import pytest
import torch

from lorafold.pipelines.extract.leading import leading
from tests.builders import Source
from tests.builders import one_thread as one_thread

M, N, RANK = 320, 260, 8


def matrix(sigma: torch.Tensor, source: Source, m: int = M, n: int = N) -> torch.Tensor:
    return (source.haar(m, len(sigma)) * sigma) @ source.haar(n, len(sigma)).mT


def spectra() -> dict[str, torch.Tensor]:
    i = torch.arange(1, N + 1, dtype=torch.float64)
    return {
        "harmonic": 1 / i,
        "slow": i**-0.3,
        "exponential": torch.exp(-i / 5),
        "a step": torch.where(i <= RANK, 1.0, 0.05),
        "a plateau across the rank": torch.where(i <= 2 * RANK, 1.0, 0.05),
        "flat": torch.ones_like(i),
        "of lower rank": torch.where(i <= 3, 1.0, 0.0),
    }


def error(D: torch.Tensor, found) -> float:
    approximation = (found.left.double() * found.sigma) @ found.right.double().mT
    return float((D.double() - approximation).norm())


@pytest.mark.parametrize("name", spectra())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_the_error_is_that_of_the_optimum_within_one_percent(name, dtype, turned):
    sigma = spectra()[name]
    D = matrix(sigma, Source(1)).to(dtype)
    D = D.mT if turned else D
    found = leading(D, RANK, torch.Generator().manual_seed(0))
    optimum = float(sigma[RANK:].norm())
    nothing = float(sigma.norm()) * (1e-5 if dtype == torch.float32 else 1e-12)
    assert error(D, found) <= 1.01 * optimum + nothing
    assert error(D, found) <= (1 + found.excess) * optimum * (1 + 1e-6) + nothing
    assert found.excess <= 0.01 + 1e-9
    for frame in (found.left.double(), found.right.double()):
        sure = frame[:, found.sigma > 1e-3 * found.sigma[0]]
        assert (sure.mT @ sure - torch.eye(sure.shape[1])).abs().max() < 1e-4


def test_exact_is_the_dense_decomposition():
    D = matrix(spectra()["harmonic"], Source(2))
    found = leading(D, RANK, torch.Generator(), exact=True)
    assert found.excess == 0 and found.blocks == 0
    assert torch.allclose(found.sigma, torch.linalg.svdvals(D)[:RANK], rtol=1e-12)


def test_a_rank_above_the_sides():
    D = Source(3).normal(5, 3)
    found = leading(D, 10, torch.Generator())
    assert found.sigma.shape == (3,) and error(D, found) < 1e-12


def test_the_same_seed_gives_the_same_numbers():
    D = matrix(spectra()["slow"], Source(4)).float()
    first, other = (leading(D, RANK, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.left, other.left) and torch.equal(first.sigma, other.sigma)
