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

from lorafold.calibration import LayerStatistics
from lorafold.calibration.metric import Metric, Moments, moments
from lorafold.core_space._layer import Calibration, Layer, Side, stack

# An energy counts as at least so much of the largest: no adapter's inputs have 100 times the say of another's.
_LEAST = 1e-4


@dataclass(frozen=True)
class Columns:
    """X, and the inner product on its columns."""

    X: Tensor  # (b, d, R), or [A_i°ᵀ .. A_iᵀ ..] (b, n, 2 R) where both count
    metric: Metric | None  # None: the ordinary one

    def gram(self, weights: Tensor | None = None) -> Tensor:
        """The inner products of the columns of X, or of X W."""
        return gram(self.X if weights is None else self.X @ weights, self.metric)


def gram(X: Tensor, metric: Metric | None) -> Tensor:
    """The inner products of the columns of X (b, d, R).  (b, R, R)"""
    return X.mT @ X if metric is None else metric.gram(X.double())


def columns(
    layers: Sequence[Layer], side: Side, slots: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Columns:
    """[B_1 .. B_N] (left) or [A_1ᵀ .. A_Nᵀ] (right) of layers that share d; of calibrated ones see `Columns`."""
    found = [layer.calibration for layer in layers if layer.calibration]
    if side == "left" or not found:
        return Columns(stack(layers, side, slots, dtype).to(device), None)
    A = stack(layers, side, slots, torch.float64).to(device)
    norms = _norms(found, device)
    moved = [M.apply(part) for M, part in zip(norms.of_adapters, torch.split(A, list(slots), -1), strict=True)]
    X = norms.mean.solve(torch.cat(moved, -1))
    return Columns((torch.cat([X, A], -1) if found[0].subspaces else X).to(dtype), norms.mean)


def _norms(layers: Sequence[Calibration], device: torch.device) -> Moments:
    """M_i of every adapter, and T."""
    energies = torch.tensor([layer.energies for layer in layers], dtype=torch.float64, device=device)
    floor = (_LEAST * energies.amax(-1, keepdim=True)).clamp_min(torch.finfo(energies.dtype).tiny)
    strengths = torch.maximum(energies, floor).rsqrt()
    shares = torch.tensor([layer.shares for layer in layers], dtype=torch.float64, device=device)
    of_adapters = [*zip(*(_each(layer) for layer in layers), strict=True)]
    return moments(of_adapters, strengths / strengths.amax(-1, keepdim=True), shares, layers[0].ridge)


def _each(layer: Calibration) -> list[LayerStatistics]:
    """Of every adapter; one without the module has no share, so that any stand in for its own."""
    stand_in = next(own for own in layer.statistics if own)
    return [own or stand_in for own in layer.statistics]
