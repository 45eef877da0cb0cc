"""How close a merged batch is to its inputs.

b = modules, N = adapters, p / q = left / right dimension, K = directions, r = rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.common.text import brief
from lorafold.core_space.problem import Problem

# Of frames that are multiplied with all others at a time.
_COLUMNS = 512


@dataclass(frozen=True)
class Measures:
    """Per module; NaN where a quantity does not exist (an adapter without the module, a zero target)."""

    phi_left: Tensor  # ‖UᵀU_i‖² / min(r, k_i)  (b, N)
    phi_right: Tensor  # (b, N)
    phi_inputs_left: Tensor  # mean over pairs of inputs of ‖U_iᵀU_j‖² / min(k_i, k_j)  (b,)
    phi_inputs_right: Tensor  # (b,)
    retained: Tensor  # ‖UᵀΔW_iV‖² / ‖ΔW_i‖²  (b, N)
    reconstruction_error: Tensor  # ‖ΔW_3 - scale M‖² / ‖scale M‖²  (b,)

    __repr__ = brief


def measure(problem: Problem, left: Tensor, right: Tensor, cores: Tensor, merged: Tensor, scale: float) -> Measures:
    """Measure the merged update U merged Vᵀ.

    Args:
        left, right: U (b, p, r) and V (b, q, r).
        cores: UᵀΔW_iV (b, N, r, r).
        merged: the combined coordinates (b, r, r), `scale` included.
    """
    target, points = scale * problem.target, problem.subspaces
    error = (left @ merged @ right.mT - target).square().sum((-2, -1))
    return Measures(
        _phi(points.left, left, points.dims),
        _phi(points.right, right, points.dims),
        _phi_inputs(points.left, points.dims),
        _phi_inputs(points.right, points.dims),
        _ratio(cores.square().sum((-2, -1)), problem.energies),
        _ratio(error, target.square().sum((-2, -1))),
    )


def _phi(frames: Tensor, frame: Tensor, dims: Tensor) -> Tensor:
    overlap = (frames.mT @ frame[:, None]).square().sum((-2, -1))
    return _ratio(overlap, dims.clamp_max(frame.shape[-1]).to(overlap.dtype))


def _phi_inputs(frames: Tensor, dims: Tensor) -> Tensor:
    b, N, p, K = frames.shape
    if N == 1:
        return frames.new_full((b,), torch.nan)
    wide, step = frames.transpose(1, 2).reshape(b, p, N * K), max(1, _COLUMNS // K)
    pairs = []
    for i in range(0, N, step):  # each with itself and those after it
        products = wide[..., i * K : (i + step) * K].mT @ wide[..., i * K :]
        overlap = products.square_().view(b, -1, K, N - i, K).sum((2, 4))  # (b, step, N - i)
        least = torch.minimum(dims[:, i : i + step, None], dims[:, None, i:]).to(overlap.dtype)
        later = torch.ones_like(least[0], dtype=torch.bool).triu(1)
        pairs.append(torch.where(later, _ratio(overlap, least), torch.nan).flatten(1))
    return torch.cat(pairs, 1).nanmean(-1)


def _ratio(value: Tensor, of: Tensor) -> Tensor:
    return torch.where(of > 0, value / of, torch.nan)
