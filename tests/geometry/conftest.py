"""Random frames and tangent vectors, and the one way to compare subspaces: by their projectors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only get in each other's way on matrices this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def haar() -> Callable[..., Tensor]:
    """haar(..., n, k): uniformly random frames; every call continues one seeded stream."""
    generator = torch.Generator().manual_seed(0)

    def sample(*size: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.linalg.qr(torch.randn(*size, dtype=torch.float64, generator=generator))[0].to(dtype)

    return sample


@pytest.fixture
def tangent(haar: Callable[..., Tensor]) -> Callable[[Tensor, float], Tensor]:
    """tangent(X, size): a random tangent vector at X whose singular values are size, size / 2, size / 3, ..."""

    def sample(X: Tensor, size: float) -> Tensor:
        n, k = X.shape[-2:]
        normal = haar(*X.shape[:-2], n, min(n, 2 * k)).to(X)
        normal = torch.linalg.qr(normal - X @ (X.mT @ normal))[0][..., :k]
        normal = normal - X @ (X.mT @ normal)
        speeds = size / torch.arange(1, k + 1).to(X)
        return (normal * speeds) @ haar(*X.shape[:-2], k, k).to(X).mT

    return sample


@pytest.fixture
def pair_at() -> Callable[[list[float], int], tuple[Tensor, Tensor]]:
    """pair_at(angles, n): two frames in coordinate planes, so that their principal angles carry no rounding error."""

    def build(angles: list[float], n: int) -> tuple[Tensor, Tensor]:
        theta, k = torch.tensor(angles, dtype=torch.float64), len(angles)
        X, Y = torch.zeros(n, k, dtype=torch.float64), torch.zeros(n, k, dtype=torch.float64)
        X[:k] = torch.eye(k, dtype=torch.float64)
        Y[:k], Y[k : 2 * k] = theta.cos().diag(), theta.sin().diag()
        # cos(pi/2) rounds to 6e-17
        return X, torch.where(Y.abs() < 1e-16, 0, Y)

    return build


@pytest.fixture
def projector_gap() -> Callable[[Tensor, Tensor], float]:
    """Largest entry of |P_X - P_Y|: 0 if and only if the spans are equal."""

    def gap(X: Tensor, Y: Tensor) -> float:
        X, Y = X.double(), Y.double()
        return float((X @ X.mT - Y @ Y.mT).abs().max())

    return gap


@pytest.fixture(scope="session")
def uqpy() -> dict[str, Any]:
    """Values of UQpy 4.2.1, with inputs; `meta` in the file says how they were made."""
    return json.loads((Path(__file__).parents[1] / "data" / "uqpy_reference.json").read_text())
