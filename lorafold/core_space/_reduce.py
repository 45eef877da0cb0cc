"""From layers to a batched core problem: the exact reduction.

b = modules, N = adapters, d = m or n, R = Σ slots = core dimension, K = largest slot; on the right of calibrated layers
whose own subspaces count too the core dimension is 2 R.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.common.batched import scatter_rows, select_rows
from lorafold.core_space._basis import ROUGHLY, WELL_CONDITIONED, Basis, identity_basis, orthonormal_basis
from lorafold.core_space._columns import columns, directions_of
from lorafold.core_space._frames import adapter_frames
from lorafold.core_space._layer import SIDES, Layer, Side, balanced_factors, chunks, stack_on
from lorafold.core_space.problem import Problem


class NonFiniteError(ValueError):
    """Some factor of some layer holds NaN or Inf."""


@dataclass(frozen=True)
class CoreBatch:
    """Layers that share one slot layout, in coordinates of orthonormal bases of their joint spans.

    The bases are Q_B = B_cat T_B and Q_A = A_catᵀ T_A; `problem` holds the ΔW_i in them. Of calibrated layers Q_A is
    orthonormal in the inner product of their statistics, and `problem` holds the calibrated updates, with the ΔW_i as
    those whose subspaces count; see `_columns.py`.
    """

    layers: tuple[Layer, ...]
    slots: tuple[int, ...]
    left: Basis
    right: Basis
    problem: Problem
    across: Tensor | None = None  # C of calibrated layers, see `Columns`

    @property
    def downs(self) -> tuple[Tensor, ...]:
        """A_iᵀ, or those of the calibrated updates, in core coordinates, an adapter each."""
        return _blocks(self.right.coords, self.slots)[: len(self.slots)]


def reduce_layers(
    layers: Sequence[Layer],
    slots: Sequence[int],
    weights: Tensor,
    *,
    same_factors: bool = False,
    roughly: bool = False,
    full: Collection[Side] = (),
) -> CoreBatch:
    """Reduce layers of any shapes, whose ranks fit into the slots, to one batch of core problems.

    All that touches m and n is one Gram product per side and module, in float64. The reduction is exact: every
    objective depends on U through UᵀU_i alone, and none rises when U is projected onto the joint span and
    orthonormalised there, so some minimiser lies in it.

    Args:
        layers: the modules.
        slots: columns reserved for each adapter; R is their sum.
        weights: w_i (b, N), float64, on the device to compute on.
        same_factors: whether it is the factors that count, and not the updates alone: ill-conditioned ones are replaced
            by others of the same product otherwise.
        roughly: whether bases will do that are orthonormal to 1e-6. It saves a pass over an adapter beside others of
            which it is the merge, and so all but depends on them.
        full: sides that are narrower than R, in layers of one shape without calibration: their core space is the whole
            space.

    Raises:
        NonFiniteError: NaN or Inf among the factors.
    """
    limit = ROUGHLY if roughly else WELL_CONDITIONED
    left, right, across = _joint_bases(layers, slots, weights.device, limit, full)
    ill = set() if same_factors else _ill_conditioned(left, right, slots)
    if ill:
        layers = [balanced_factors(layer) if row in ill else layer for row, layer in enumerate(layers)]
        left, right, across = _joint_bases(layers, slots, weights.device, limit, full)
    scales = torch.tensor([layer.scales for layer in layers], dtype=torch.float64, device=weights.device)
    ups, downs = _blocks(left.coords, slots), _blocks(right.coords, slots)
    problem, *rest = (_problem(ups, downs[k:], scales, weights) for k in range(0, len(downs), len(slots)))
    return CoreBatch(tuple(layers), tuple(slots), left, right, replace(problem, others=next(iter(rest), None)), across)


def _joint_bases(
    layers: Sequence[Layer], slots: Sequence[int], device: torch.device, limit: float, full: Collection[Side]
) -> tuple[Basis, Basis, Tensor | None]:
    """Of the left and of the right, and C of the right."""
    (left, _), right = (
        (_whole_space(layers, side, slots, device), None)
        if side in full
        else _joint_basis(layers, side, slots, device, limit)
        for side in SIDES
    )
    return left, *right


def _whole_space(layers: Sequence[Layer], side: Side, slots: Sequence[int], device: torch.device) -> Basis:
    X = stack_on(layers, side, slots, torch.float64, device)
    if not bool(X.isfinite().all()):
        raise NonFiniteError
    return identity_basis(X)


def _ill_conditioned(left: Basis, right: Basis, slots: Sequence[int]) -> set[int]:
    """Rows in which the columns of one factor of one adapter are nearly dependent.

    The Gram matrix of such a factor loses what the columns differ by, which may be all that its product with the other
    factor has: of up = [e₁, e₁ + εe₂] and down = [-aᵀ/ε; aᵀ/ε], whose product is e₂aᵀ.
    """
    sides = [side for side in (left, right) if side.transform is not None]
    narrow = torch.stack([side.dims < side.coords.shape[-1] for side in (left, right)]).any(0).nonzero().squeeze(-1)
    if not len(narrow):
        return set()
    blocks = [part for side in sides for part in _blocks(side.coords[narrow], slots)]
    sound = torch.stack([orthonormal_basis(block.mT @ block).sound for block in blocks]).all(0)
    return set(narrow[~sound].tolist())


def _blocks(coords: Tensor, slots: Sequence[int]) -> tuple[Tensor, ...]:
    """The adapters' own columns, one block after the other."""
    repeats = coords.shape[-1] // sum(slots)
    return torch.split(coords, [*slots] * repeats, -1)


def _joint_basis(
    layers: Sequence[Layer], side: Side, slots: Sequence[int], device: torch.device, limit: float
) -> tuple[Basis, Tensor | None]:
    """An orthonormal basis of the span of one side's columns of every layer, and C where they are calibrated."""
    calibration = layers[0].calibration if side == "right" else None
    width = sum(slots) * (2 if calibration and calibration.subspaces else 1)
    gram = torch.zeros(len(layers), width, width, dtype=torch.float64, device=device)
    widths = directions_of(layers)
    across = gram.new_zeros(len(layers), sum(widths), width) if calibration else None
    for positions in chunks(layers, side, slots, device):
        own = columns([layers[i] for i in positions], side, slots, torch.float64, device, widths=widths)
        gram[positions] = own.gram()
        if across is not None and own.across is not None:
            across[positions] = own.across
    if not bool(gram.isfinite().all()):
        raise NonFiniteError
    basis = orthonormal_basis(gram, limit)
    weak = (~basis.sound).nonzero().squeeze(-1)
    return (_second_pass(basis, weak, layers, side, slots) if len(weak) else basis), across


def _second_pass(basis: Basis, weak: Tensor, layers: Sequence[Layer], side: Side, slots: Sequence[int]) -> Basis:
    """Orthonormalise Q = X T again where T is large, as in CholeskyQR2 (Yamamoto et al. 2015)."""
    rows = select_rows(basis, weak)
    some = [layers[i] for i in weak.tolist()]
    gram = torch.zeros_like(rows.coords)
    for positions in chunks(some, side, slots, gram.device):
        X = columns([some[i] for i in positions], side, slots, torch.float64, gram.device)
        gram[positions] = X.gram(rows.T[positions])
    return scatter_rows(basis, weak, rows.then(orthonormal_basis(gram)))


def _problem(ups: Sequence[Tensor], downs: Sequence[Tensor], scales: Tensor, weights: Tensor) -> Problem:
    """The adapters' frames, zero-padded to a common width.

    Args:
        ups, downs: of every adapter in core coordinates; of `downs` the first count.
    """
    (b, N), width = weights.shape, max(up.shape[-1] for up in ups)
    problem = Problem(
        left=ups[0].new_zeros(b, N, ups[0].shape[1], width),
        right=ups[0].new_zeros(b, N, downs[0].shape[1], width),
        core=ups[0].new_zeros(b, N, width, width),
        dims=torch.zeros(b, N, dtype=torch.int64, device=weights.device),
        weights=weights,
    )
    by_slot: dict[int, list[int]] = defaultdict(list)
    for position, up in enumerate(ups):
        by_slot[up.shape[-1]].append(position)
    for slot, own in by_slot.items():
        of_slot = scales.mT[own].flatten()
        frames = adapter_frames(torch.cat([ups[i] for i in own]), torch.cat([downs[i] for i in own]), of_slot)
        for field in ("left", "right"):
            getattr(problem, field)[:, own, :, :slot] = _by_layer(getattr(frames, field), b)
        problem.core[:, own, :slot, :slot] = _by_layer(frames.core, b)
        problem.dims[:, own] = _by_layer(frames.dims, b)
    return problem


def _by_layer(stacked: Tensor, b: int) -> Tensor:
    """(n b, ..) -> (b, n, ..)"""
    return stacked.reshape(-1, b, *stacked.shape[1:]).transpose(0, 1)
