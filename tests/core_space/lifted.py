"""A reduced layer seen from full space: core space is exact if this is the layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.core_space import CoreBatch, Layer, lift, reduce_layers


@dataclass(frozen=True)
class Lifted:
    """The joint bases (d, R) and the frames U_i, V_i (d, k_i) of one layer, in the coordinates of its factors."""

    bases: tuple[Tensor, Tensor]
    frames: list[tuple[Tensor, Tensor]]
    cores: list[Tensor]  # (k_i, k_i)


def reduce_one(*layers: Layer) -> CoreBatch:
    """The batch of layers that share their ranks, all weights 1."""
    slots = [max(1, rank) for rank in layers[0].ranks]
    return reduce_layers(layers, slots, torch.ones(len(layers), len(slots), dtype=torch.float64))


def lifted(batch: CoreBatch, row: int = 0) -> Lifted:
    """Row `row` of a batch, lifted; columns past the adapters' dims must be zero."""
    identity = torch.eye(sum(batch.slots), dtype=torch.float64).expand(len(batch.layers), -1, -1)
    up, down = lift(batch, identity, identity, torch.float64)
    left, right = up.factors[row], down.factors[row].mT
    problem = batch.problem
    frames, cores = [], []
    for i, k in enumerate(problem.dims[row].tolist()):
        pair = problem.left[row, i], problem.right[row, i]
        assert all(bool((frame[:, k:] == 0).all()) for frame in (*pair, problem.core[row, i], problem.core[row, i].mT))
        frames.append((left @ pair[0][:, :k], right @ pair[1][:, :k]))
        cores.append(problem.core[row, i, :k, :k])
    return Lifted((left, right), frames, cores)


def drift(frame: Tensor) -> float:
    """Largest entry of |QᵀQ - I| over the columns of Q that are there; 0 if there is none."""
    frame = frame[:, frame.abs().sum(0) > 0]
    gram = frame.mT @ frame
    return float((gram - torch.eye(len(gram), dtype=gram.dtype)).abs().max()) if len(gram) else 0.0
