"""The adapters and their merge side by side, from what the merge knows of them: no factor is touched again.

b = modules, N = adapters, R = core dimension, r = rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lorafold.core_space import CoreBatch
from lorafold.geometry.singular import SVD
from lorafold.pipelines.compare.batch import ComparedBatch, compared_batch
from lorafold.pipelines.compare.overlap import SingularFrames, singular_frames
from lorafold.pipelines.compare.settings import CompareSettings
from lorafold.solvers import Solution


def compared_in_core(
    batch: CoreBatch, rows: list[int], solution: Solution, merged: SVD, dims: Tensor
) -> ComparedBatch | None:
    """Compare the adapters of a batch and, as the last, what they are merged into: U Q S Rᵀ Vᵀ.

    None of calibrated layers: their core space has the inner product of statistics.

    Args:
        rows: where the layers stand among all.
        solution: U and V.
        merged: Q, S and Rᵀ (b, r, r).
        dims: how many singular values count (b,).
    """
    if batch.layers[0].calibration is not None:
        return None
    updates = [*singular_frames(batch), _frames(solution, merged, dims)]
    return compared_batch(batch.layers, rows, updates, CompareSettings.distances, roughly=True)


def _frames(solution: Solution, merged: SVD, dims: Tensor) -> SingularFrames:
    kept = torch.arange(merged.S.shape[-1], device=dims.device) < dims[:, None]
    rotations = torch.stack([merged.U, merged.Vh.mT]) * kept[:, None, :]
    return SingularFrames(torch.stack([solution.left, solution.right]) @ rotations, merged.S * kept, dims)


def as_written(
    compared: ComparedBatch, factors: Mapping[str, tuple[Tensor, Tensor]], scale: float, balance: Sequence[float]
) -> ComparedBatch:
    """The same of the adapters as they were read, and of the merged one with its factors.

    Args:
        factors: up and down by module name.
        scale: on the merged update, known only now.
        balance: on the adapters, before they were merged.
    """
    count = len(balance)
    layers = [
        replace(
            layer,
            ups=(*layer.ups[:count], factors[layer.name][0]),
            downs=(*layer.downs[:count], factors[layer.name][1]),
            scales=(*layer.scales[:count], 1.0),
        )
        for layer in compared.layers
    ]
    return replace(compared.rescaled([*(1 / factor for factor in balance), scale]), layers=layers)
