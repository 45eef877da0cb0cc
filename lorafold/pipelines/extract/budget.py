"""The ranks that a budget buys, once all layers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from lorafold.common.errors import LorafoldError
from lorafold.layers.ranks import budget_ranks
from lorafold.pipelines.extract.layer import Extracted


def within_budget(layers: Sequence[Extracted], budget: float | None) -> list[Extracted]:
    """The layers cut to the ranks that hold most energy in so many MB; as they are if there is no budget.

    Raises:
        LorafoldError: less than rank 1 in every layer takes.
    """
    if budget is None or not layers:
        return list(layers)
    sigma = torch.zeros(len(layers), max(layer.module.rank for layer in layers), dtype=torch.float64)
    for row, layer in zip(sigma, layers, strict=True):
        row[: layer.module.rank] = layer.sigma[: layer.module.rank]
    costs = torch.tensor([sum(layer.module.shape) for layer in layers])
    itemsize = max(layer.module.up.dtype.itemsize for layer in layers)
    least = int(costs.sum()) * itemsize / 1e6
    if budget < least:
        raise LorafoldError(
            f"budget={budget:g} MB is less than what rank 1 in every layer takes ({least:.3g} MB)",
            remedy=f"Ask for budget={least * 1.01:.3g} or more.",
        )
    ranks = budget_ranks(sigma, costs, int(budget * 1e6 / itemsize))
    return [_cut(layer, int(rank)) for layer, rank in zip(layers, ranks, strict=True)]


def _cut(layer: Extracted, rank: int) -> Extracted:
    module = layer.module
    if rank >= module.rank:
        return layer
    cut = replace(module, up=module.up[:, :rank].contiguous(), down=module.down[:rank].contiguous())
    return replace(layer, module=cut, error=None)
