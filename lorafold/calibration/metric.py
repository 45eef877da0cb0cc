"""The norm that statistics define: diagonal plus low rank, of many layers at once. No n x n matrix is formed.

b = layers, n = in (times the kernel's size), k = directions, N = adapters, K = N k, R = columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.calibration.statistics import LayerStatistics


@dataclass(frozen=True)
class Metric:
    """T = D + FFᵀ, symmetric and positive definite: the inner product aᵀTb of each layer."""

    diagonal: Tensor  # D (b, n), > 0
    factor: Tensor  # F (b, n, K)

    def apply(self, columns: Tensor) -> Tensor:
        """T X of X (b, n, R)."""
        return self.diagonal[..., None] * columns + self.factor @ (self.factor.mT @ columns)

    def solve(self, columns: Tensor) -> Tensor:
        """T⁻¹X of X (b, n, R): D⁻¹X - D⁻¹F (I + FᵀD⁻¹F)⁻¹ FᵀD⁻¹X (Woodbury 1950)."""
        scaled = self.factor / self.diagonal[..., None]  # D⁻¹F
        inner = self.factor.mT @ scaled
        inner.diagonal(dim1=-2, dim2=-1).add_(1)
        across = torch.cholesky_solve(scaled.mT @ columns, torch.linalg.cholesky(inner))
        return columns / self.diagonal[..., None] - scaled @ across

    def embed(self, columns: Tensor) -> Tensor:
        """[D^½X; FᵀX] of X (b, n, R), whose ordinary inner products are those of T.  (b, n + K, R)"""
        return torch.cat([self.diagonal.sqrt()[..., None] * columns, self.factor.mT @ columns], -2)

    def times(self, weights: Tensor) -> Metric:
        """w T for w >= 0 (b,)."""
        return Metric(weights[:, None] * self.diagonal, weights.sqrt()[:, None, None] * self.factor)

    @property
    def level(self) -> Tensor:
        """tr T / n.  (b,)"""
        return (self.diagonal.sum(-1) + self.factor.square().sum((-2, -1))) / self.diagonal.shape[-1]


def second_moments(statistics: Sequence[LayerStatistics], ridge: float, device: torch.device) -> Metric:
    """C + ridge (tr C / n) I of layers of equal n, C = diag(d - diag(QSQᵀ))₊ + QSQᵀ, in float64.

    The diagonal less what the directions hold of it is not below 0 but for rounding.

    Args:
        statistics: of one adapter, a layer each: d the diagonal, Q the directions, S the eigenvalues.
        ridge: the part of the mean eigenvalue that is added to each.
    """
    most, n = max(len(layer.eigenvalues) for layer in statistics), len(statistics[0].diagonal)
    diagonal = torch.stack([layer.diagonal for layer in statistics]).to(device, torch.float64)
    factor = torch.zeros(len(statistics), n, most, dtype=torch.float64, device=device)
    for row, layer in zip(factor, statistics, strict=True):
        row[:, : len(layer.eigenvalues)] = layer.directions.to(device) * layer.eigenvalues.to(device).double().sqrt()
    rest = (diagonal - factor.square().sum(-1)).clamp_min(0)
    return Metric(rest + ridge * diagonal.mean(-1, keepdim=True), factor)


def total(metrics: Sequence[Metric], weights: Tensor) -> Metric:
    """Σ_i w_i T_i of non-negative weights (b, N)."""
    parts = [metric.times(weights[:, i]) for i, metric in enumerate(metrics)]
    diagonal = torch.stack([part.diagonal for part in parts]).sum(0)
    return Metric(diagonal, torch.cat([part.factor for part in parts], -1))
