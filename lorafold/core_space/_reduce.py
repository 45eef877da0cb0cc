"""From layers to a batched core problem: the exact reduction.

b = modules, N = adapters, d = m or n, R = Σ slots = core dimension, K = largest slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.common.batched import scatter_rows, select_rows
from lorafold.core_space._basis import Basis, orthonormal_basis
from lorafold.core_space._frames import Frames, adapter_frames
from lorafold.core_space._layer import Layer, Side, chunks, stack
from lorafold.core_space.problem import Problem


class NonFiniteError(ValueError):
    """Some factor of some layer holds NaN or Inf."""


@dataclass(frozen=True)
class CoreBatch:
    """Layers that share one slot layout, in coordinates of orthonormal bases of their joint spans.

    The bases are Q_B = B_cat T_B and Q_A = A_catᵀ T_A; `problem` holds the ΔW_i in them.
    """

    layers: tuple[Layer, ...]
    slots: tuple[int, ...]
    left: Basis
    right: Basis
    problem: Problem


def reduce_layers(layers: Sequence[Layer], slots: Sequence[int], weights: Tensor) -> CoreBatch:
    """Reduce layers of any shapes, whose ranks fit into the slots, to one batch of core problems.

    All that touches m and n is one Gram product per side and module, in float64. The reduction is exact: every
    objective depends on U through UᵀU_i alone, and none rises when U is projected onto the joint span and
    orthonormalised there, so some minimiser lies in it.

    Args:
        layers: the modules.
        slots: columns reserved for each adapter; R is their sum.
        weights: w_i (b, N), float64, on the device to compute on.

    Raises:
        NonFiniteError: NaN or Inf among the factors.
    """
    left, right = (_joint_basis(layers, side, slots, weights.device) for side in ("left", "right"))
    scales = torch.tensor([layer.scales for layer in layers], dtype=torch.float64, device=weights.device)
    ups, downs = (torch.split(basis.coords, list(slots), dim=-1) for basis in (left, right))
    frames = [adapter_frames(up, down, scales[:, i]) for i, (up, down) in enumerate(zip(ups, downs, strict=True))]
    return CoreBatch(tuple(layers), tuple(slots), left, right, _problem(frames, max(slots), weights))


def _joint_basis(layers: Sequence[Layer], side: Side, slots: Sequence[int], device: torch.device) -> Basis:
    """An orthonormal basis of span[B_1 .. B_N] (left) or span[A_1ᵀ .. A_Nᵀ] (right) of every layer."""
    gram = torch.zeros(len(layers), sum(slots), sum(slots), dtype=torch.float64, device=device)
    for positions in chunks(layers, side, slots):
        X = stack([layers[i] for i in positions], side, slots, torch.float64).to(device)
        gram[positions] = X.mT @ X
    if not bool(gram.isfinite().all()):
        raise NonFiniteError
    basis = orthonormal_basis(gram)
    weak = (~basis.sound).nonzero().squeeze(-1)
    return _second_pass(basis, weak, layers, side, slots) if len(weak) else basis


def _second_pass(basis: Basis, weak: Tensor, layers: Sequence[Layer], side: Side, slots: Sequence[int]) -> Basis:
    """Orthonormalise Q = X T again where T is large, as in CholeskyQR2 (Yamamoto et al. 2015)."""
    rows = select_rows(basis, weak)
    some = [layers[i] for i in weak.tolist()]
    gram = torch.zeros_like(rows.coords)
    for positions in chunks(some, side, slots):
        X = stack([some[i] for i in positions], side, slots, torch.float64).to(gram.device)
        Q = X @ rows.transform[positions]
        gram[positions] = Q.mT @ Q
    return scatter_rows(basis, weak, rows.then(orthonormal_basis(gram)))


def _problem(frames: Sequence[Frames], width: int, weights: Tensor) -> Problem:
    """The adapters' frames, zero-padded to a common width."""
    missing = [width - frame.core.shape[-1] for frame in frames]
    return Problem(
        left=torch.stack([pad(frame.left, (0, k)) for frame, k in zip(frames, missing, strict=True)], 1),
        right=torch.stack([pad(frame.right, (0, k)) for frame, k in zip(frames, missing, strict=True)], 1),
        core=torch.stack([pad(frame.core, (0, k, 0, k)) for frame, k in zip(frames, missing, strict=True)], 1),
        dims=torch.stack([frame.dims for frame in frames], 1),
        weights=weights,
    )
