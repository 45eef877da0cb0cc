"""Singular values of all updates of one adapter, exactly and without forming an update.

b = modules, r = rank in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.common.parallel import map_parallel
from lorafold.core_space import CoreBatch, Layer, reduce_layers
from lorafold.core_space.balanced import Balanced, balanced
from lorafold.layers.buckets import Bucket, split_buckets

_CPU = torch.device("cpu")
_MOST = 32  # modules per bucket: few enough to stay in the cache


@dataclass(frozen=True)
class Spectrum:
    """Modules of equal rank, decomposed: ΔW = U S Vᵀ in core space."""

    batch: CoreBatch
    factors: Balanced  # U √S and V √S; S (b, r), descending, zero past the numerical rank
    positions: tuple[int, ...]  # among all layers

    @property
    def sigma(self) -> Tensor:
        """S.  (b, r)"""
        return self.factors.sigma


def spectra(layers: Sequence[Layer], device: torch.device = _CPU) -> list[Spectrum]:
    """The decomposition of every layer, each of which one adapter alone has.

    Raises:
        NonFiniteError: NaN or Inf among the factors.
    """

    def work(bucket: Bucket) -> Spectrum:
        one = torch.ones(len(bucket.positions), 1, dtype=torch.float64)
        batch = reduce_layers(bucket.select(layers), bucket.slots, one.to(device))
        return Spectrum(batch, balanced(batch, 0), tuple(bucket.positions))

    return list(map_parallel(work, split_buckets(layers, _MOST, device=device), device))


def singular_values(parts: Sequence[Spectrum]) -> Tensor:
    """S of every layer, zero-padded to the largest rank.  (layers, r)"""
    count = sum(len(part.positions) for part in parts)
    result = torch.zeros(count, max(part.sigma.shape[1] for part in parts), dtype=torch.float64)
    for part in parts:
        result[list(part.positions), : part.sigma.shape[1]] = part.sigma.cpu()
    return result
