"""Random layers, problems and adapters in memory, of chosen shapes, ranks, scales and defects.

m = out, n = in, r_i = rank of adapter i, b = modules, N = adapters, p / q = left / right dimension, K = directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module, load
from lorafold.core_space import Layer
from lorafold.core_space.problem import Problem

DEMO = tuple(str(Path(__file__).parents[1] / "lorafold" / "demo" / name) for name in ("dnoun", "dmovie"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only get in each other's way on matrices this small; a test file that imports this runs on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Source:
    """One seeded stream of random float64 matrices."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def haar(self, *shape: int) -> Tensor:
        """Uniformly random orthonormal columns (..., n, k), k <= n."""
        return torch.linalg.qr(self.normal(*shape))[0]

    def conditioned(self, m: int, n: int, condition: float) -> Tensor:
        """(m, n) with singular values spread evenly, on a log scale, from 1 to 1 / condition."""
        k = min(m, n)
        sigma = torch.logspace(0, -math.log10(condition), k, dtype=torch.float64)
        return (self.haar(m, k) * sigma) @ self.haar(n, k).mT


def layer(ups: Sequence[Tensor], downs: Sequence[Tensor], scales: Sequence[float] | None = None) -> Layer:
    """A layer of ups (m, r_i) and downs (r_i, n); all scales are 1 unless given."""
    return Layer("layer", tuple(ups), tuple(downs), tuple(scales or [1.0] * len(ups)))


def random_layer(source: Source, m: int, n: int, ranks: Sequence[int], scales: Sequence[float] | None = None) -> Layer:
    """Gaussian factors of the given ranks; 0 stands for an adapter that lacks the module."""
    return layer([source.normal(m, r) for r in ranks], [source.normal(r, n) for r in ranks], scales)


def full_problem(
    source: Source, p: int, q: int, dims: Sequence[Sequence[int]], weights: Sequence[float] | None = None
) -> Problem:
    """A problem in full space, one row of `dims` per module: K_i leading columns random, the others zero."""
    b, N, K = len(dims), len(dims[0]), max(map(max, dims))
    left, right = (torch.zeros(b, N, d, K, dtype=torch.float64) for d in (p, q))
    core = torch.zeros(b, N, K, K, dtype=torch.float64)
    for module, row in enumerate(dims):
        for adapter, k in enumerate(row):
            left[module, adapter, :, :k], right[module, adapter, :, :k] = source.haar(p, k), source.haar(q, k)
            core[module, adapter, :k, :k] = source.conditioned(k, k, 10.0) if k else 0.0
    signed = torch.tensor(weights or [1 / N] * N, dtype=torch.float64).expand(b, N)
    return Problem(left, right, core, torch.tensor(dims), signed)


def random_adapter(
    form: str,
    shapes: Mapping[str, tuple[int, int]],
    rank: int | Mapping[str, int],
    *,
    seed: int = 0,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float64,
    path: str | None = None,
) -> Adapter:
    """Linear modules of the given (m, n) with Gaussian factors, and the file name it is said to come from."""
    source = Source(seed)
    modules = {}
    for name, (m, n) in shapes.items():
        r = rank if isinstance(rank, int) else rank[name]
        modules[name] = Module(name, source.normal(m, r).to(dtype), source.normal(r, n).to(dtype), scale)
    return Adapter(form, modules, path=None if path is None else Path(path))


def single(up: Tensor, down: Tensor, scale: float = 1.0, *, form: str = "kohya", **parts: object) -> Adapter:
    """An adapter of one module, "a"; `parts` are further fields of `Module`."""
    return Adapter(form, {"a": replace(Module("a", up, down, scale), **parts)})  # type: ignore[arg-type]


def changed(adapter: Adapter, change: Callable[[Module], Module] = lambda m: m, only: Sequence[str] = ()) -> Adapter:
    """The adapter with every module changed, and with some of its modules only."""
    names = only or adapter.modules
    return replace(adapter, modules={name: change(adapter.modules[name]) for name in names})


def in_float64(adapter: Adapter) -> Adapter:
    """The same numbers in float64, so that a merge with dtype="auto" is not rounded."""
    return changed(adapter, lambda module: replace(module, up=module.up.double(), down=module.down.double()))


@cache
def demo() -> tuple[Adapter, Adapter]:
    """The shipped pair, of ranks 24 and 16, in float64."""
    first, second = (in_float64(load(path)) for path in DEMO)
    return first, second
