"""What spans one side of layers, and the inner product on it: that of the statistics on the right of calibrated layers.

b = layers, n = in, N = adapters, R = Σ slots, E_i = energy of the update of adapter i.

With M_i = E_i^(-½) (C_i + ridge (tr C_i / n) I) and T = Σ ŵ_i M_i (all times a number that makes tr T = n), the update
that comes closest to every adapter on its own inputs, min Σ ŵ_i ‖(ΔW - ΔW_i) M_i^½‖², is the weighted mean Σ ŵ_i ΔW_i°
of the calibrated updates ΔW_i° = ΔW_i M_i T⁻¹ (RegMean; Jin et al. 2023, arXiv:2212.09849). Up to a constant that loss
is ‖(ΔW - ΔW*) T^½‖², so that with T for the inner product of the row spaces all is as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.calibration import LayerStatistics
from lorafold.calibration.metric import Metric, Moments, moments
from lorafold.core_space._layer import SIDES, Calibration, Layer, Side, chunks, stack_on

# An energy counts as at least so much of the largest: no adapter's inputs have 100 times the say of another's.
_LEAST = 1e-4


@dataclass(frozen=True)
class Columns:
    """X = P + D⁻¹QC, and the inner product T = D + QSQᵀ on its columns; where that is the ordinary one, X = P."""

    P: Tensor  # (b, d, R), or [.. for A_i°ᵀ .. A_iᵀ ..] (b, n, 2 R) where both count
    metric: Metric | None = None  # T; None: the ordinary one
    across: Tensor | None = None  # C (b, K, R)
    products: Tensor | None = None  # XᵀTX, where making C has given it

    def combined(self, weights: Tensor, across: Tensor | None = None) -> Tensor:
        """(X W)ᵀ, from CW where it is known.  (b, r, d)"""
        rows = weights.mT @ self.P.mT
        if across is None and self.across is not None:
            across = self.across @ weights
        if self.metric is None or across is None:
            return rows
        return torch.baddbmm(rows, across.mT, self.metric.scaled.mT)

    def gram(self, weights: Tensor | None = None) -> Tensor:
        """The inner products of the columns of X, or of X W."""
        if weights is not None:
            return gram(self.combined(weights).mT, self.metric)
        return gram(self.P, None) if self.products is None else self.products


def gram(X: Tensor, metric: Metric | None) -> Tensor:
    """The inner products of the columns of X (b, d, R).  (b, R, R)"""
    return X.mT @ X if metric is None else metric.gram(X)


def columns(
    layers: Sequence[Layer],
    side: Side,
    slots: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    widths: Sequence[int] | None = None,
    solved: bool = True,
) -> Columns:
    """[B_1 .. B_N] (left) or [A_1ᵀ .. A_Nᵀ] (right) of layers that share d; of calibrated ones see `Columns`.

    Args:
        widths: see `directions_of`, of all layers that C is to be of.
        solved: whether to find C, which takes most of the time.
    """
    calibrations = [layer.calibration for layer in layers if layer.calibration]
    X = stack_on(layers, side, slots, dtype, device)
    if side == "left" or not calibrations:
        return Columns(X)
    norms = _norms(calibrations, device, widths, dtype)
    P = _parts(X, norms, slots, calibrations[0].subspaces)
    return _solved(X, P, norms, slots) if solved else Columns(P, norms.mean)


def energies(layers: Sequence[Layer], device: torch.device) -> Tensor:
    """‖ΔW‖² of layers that one adapter alone has: ‖sBA‖² = s² ⟨BᵀB, AAᵀ⟩, in float64.  (b,)"""
    slots = (max(layer.ranks[0] for layer in layers),)
    grams = torch.zeros(2, len(layers), *slots, *slots, dtype=torch.float64, device=device)
    for gram, side in zip(grams, SIDES, strict=True):
        for positions in chunks(layers, side, slots, device):
            gram[positions] = columns([layers[i] for i in positions], side, slots, torch.float64, device).gram()
    scales = torch.tensor([layer.scales[0] for layer in layers], dtype=torch.float64, device=device)
    return scales.square() * grams.prod(0).sum((1, 2)).clamp_min(0)


def directions_of(layers: Sequence[Layer]) -> list[int]:
    """How many eigenpairs there are of every adapter at the most; none without calibration."""
    calibrations = [layer.calibration for layer in layers if layer.calibration]
    each = zip(*(_each(calibration) for calibration in calibrations), strict=True)
    return [max(len(own.eigenvalues) for own in layers) for layers in each]


def _parts(A: Tensor, norms: Moments, slots: Sequence[int], subspaces: bool) -> Tensor:
    """P = D⁻¹[D_1A_1ᵀ .. D_NA_Nᵀ], and beside it A_iᵀ where they count; in the memory layout of A."""
    b, n, R = A.shape
    rows = A.new_empty(b, 2 * R if subspaces else R, n)
    if subspaces:
        rows[:, R:] = A.mT
    own = zip(torch.split(rows[:, :R], list(slots), 1), torch.split(A.mT, list(slots), 1), strict=True)
    for (out, part), quotient in zip(own, norms.quotients(), strict=True):
        torch.mul(part, quotient[:, None], out=out)
    return rows.mT


def _solved(A: Tensor, P: Tensor, norms: Moments, slots: Sequence[int]) -> Columns:
    """C, and the Gram matrix that takes no more than it: with E = QᵀX that is ‖X‖² in D and EᵀSE, both squares."""
    T, R = norms.mean, A.shape[-1]
    parts = torch.split(A, list(slots), -1)
    own = [M.directions.mT @ part for M, part in zip(norms.of_adapters, parts, strict=True)]
    along, inner = T.directions.mT @ P, T.directions.mT @ T.scaled
    C = pad(norms.solve(own, along[..., :R], inner), (0, P.shape[-1] - R))
    E = along + inner @ C
    mixed = along.mT @ C
    weighted = T.diagonal.sqrt()[..., None] * P
    squares = torch.baddbmm(mixed + mixed.mT + C.mT @ inner @ C, weighted.mT, weighted)
    return Columns(P, T, C, torch.baddbmm(squares, E.mT, T.sizes[..., None] * E))


def _norms(
    layers: Sequence[Calibration], device: torch.device, widths: Sequence[int] | None, dtype: torch.dtype
) -> Moments:
    """M_i of every adapter, and T."""
    energies = torch.tensor([layer.energies for layer in layers], dtype=torch.float64, device=device)
    floor = (_LEAST * energies.amax(-1, keepdim=True)).clamp_min(torch.finfo(energies.dtype).tiny)
    strengths = torch.maximum(energies, floor).rsqrt()
    shares = torch.tensor([layer.shares for layer in layers], dtype=torch.float64, device=device)
    of_adapters = [*zip(*(_each(layer) for layer in layers), strict=True)]
    return moments(of_adapters, strengths / strengths.amax(-1, keepdim=True), shares, layers[0].ridge, widths, dtype)


def _each(layer: Calibration) -> list[LayerStatistics]:
    """Of every adapter; one without the module has no share, so that any stand in for its own."""
    stand_in = next(own for own in layer.statistics if own)
    return [own or stand_in for own in layer.statistics]
