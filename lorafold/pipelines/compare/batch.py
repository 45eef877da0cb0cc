"""Modules that are compared together: every pair of adapters, from their frames in core space.

b = modules of the batch, N = adapters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import torch
from torch import Tensor

from lorafold.common.text import brief
from lorafold.core_space import Layer
from lorafold.pipelines.compare.overlap import Overlap, SingularFrames, on_cpu, overlap
from lorafold.pipelines.compare.panel import family_phi


@dataclass(frozen=True)
class ComparedBatch:
    """Modules of one slot layout that were compared together."""

    layers: list[Layer]
    rows: list[int]  # where they stand among all modules
    dims: Tensor  # (N, b)  numerical ranks
    energies: Tensor  # (N, b)  ‖ΔW_i‖²
    overlaps: Mapping[tuple[int, int], Overlap]
    # of each pair, where there is a panel: what `family_phi` returns
    families: Mapping[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    __repr__ = brief

    def rescaled(self, gains: Sequence[float]) -> ComparedBatch:
        """With every update times its gain: subspaces stay what they are."""
        squares = torch.tensor(gains, dtype=torch.float64).square()
        overlaps = {
            (i, j): replace(
                found, inner=gains[i] * gains[j] * found.inner, turned=squares[i] * squares[j] * found.turned
            )
            for (i, j), found in self.overlaps.items()
        }
        return replace(self, energies=self.energies * squares[:, None], overlaps=overlaps)


def compared_batch(
    layers: Sequence[Layer],
    rows: list[int],
    updates: Sequence[SingularFrames],
    distances: Sequence[str],
    panel: Sequence[SingularFrames] = (),
    *,
    roughly: bool = False,
) -> ComparedBatch:
    """Compare every pair of updates; for the arguments see `ComparedBatch` and `overlap`."""
    pairs = list(combinations(range(len(updates)), 2))
    families = {(i, j): family_phi([updates[i], updates[j], *panel]) for i, j in pairs} if panel else {}
    return ComparedBatch(
        list(layers),
        rows,
        torch.stack([update.dims for update in updates]).cpu(),
        torch.stack([update.sigma.square().sum(-1) for update in updates]).cpu(),
        {(i, j): on_cpu(overlap(updates[i], updates[j], distances, roughly=roughly)) for i, j in pairs},
        {pair: (phi.cpu(), q.cpu()) for pair, (phi, q) in families.items()},
    )
