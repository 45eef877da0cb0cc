"""The norm that statistics define: diagonal plus low rank, of many layers at once. No n x n matrix is formed.

b = layers, n = in (times the kernel's size), k = directions, N = adapters, K = N k, R = columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

from lorafold.calibration.statistics import LayerStatistics


@dataclass(frozen=True)
class Metric:
    """T = D + QSQᵀ, symmetric and positive definite: the inner product aᵀTb of each layer."""

    diagonal: Tensor  # D (b, n), > 0
    directions: Tensor  # Q (b, n, K), of any angles to each other
    sizes: Tensor  # S (b, K), >= 0

    def gram(self, columns: Tensor) -> Tensor:
        """XᵀTX of X (b, n, R), as sums of squares, in which nothing cancels.  (b, R, R)"""
        weighted = self.diagonal.sqrt()[..., None] * columns
        across = self.sizes.sqrt()[..., None] * (self.directions.mT @ columns)
        return torch.baddbmm(weighted.mT @ weighted, across.mT, across)

    def to(self, dtype: torch.dtype) -> Metric:
        """In this precision."""
        return Metric(self.diagonal.to(dtype), self.directions.to(dtype), self.sizes.to(dtype))

    @property
    def scaled(self) -> Tensor:
        """D⁻¹Q.  (b, n, K)"""
        return self.directions / self.diagonal[..., None]


@dataclass(frozen=True)
class Moments:
    """M_i = c_i (C_i + ridge (tr C_i / n) I) of every adapter, and T = Σ ŵ_i M_i, all times one number: tr T = n."""

    of_adapters: tuple[Metric, ...]
    mean: Metric  # T

    def quotients(self) -> list[Tensor]:
        """D⁻¹D_i of every adapter.  (b, n) each"""
        return [M.diagonal / self.mean.diagonal for M in self.of_adapters]

    def solve(self, own: Sequence[Tensor], along: Tensor, inner: Tensor) -> Tensor:
        """C of [T⁻¹M_1X_1 .. T⁻¹M_NX_N] = P + D⁻¹Q C, where P = D⁻¹[D_1X_1 .. D_NX_N].  (b, K, R)

        With F = diag(S_i Q_iᵀX_i) the right side M_iX_i is DP + QF, and by Woodbury (1950) C = F - S^½B⁻¹S^½(QᵀP + HF)
        with H = QᵀD⁻¹Q and B = I + S^½HS^½. Where S > 0, that is S^½B⁻¹(S^-½F - S^½QᵀP), in which nothing cancels.

        Args:
            own: Q_iᵀX_i of every adapter (b, k_i, R_i).
            along: QᵀP (b, K, R).
            inner: H (b, K, K).
        """
        F = torch.zeros_like(along)
        offsets = [0, 0]
        for M, part in zip(self.of_adapters, own, strict=True):
            k, r = part.shape[-2:]
            F[:, offsets[0] : offsets[0] + k, offsets[1] : offsets[1] + r] = M.sizes[..., None] * part
            offsets = [offsets[0] + k, offsets[1] + r]
        root = self.mean.sizes.sqrt()[..., None]
        B = root * inner * root.mT
        B.diagonal(dim1=-2, dim2=-1).add_(1)
        of_none = torch.where(root > 0, 0.0, F)  # of adapters without a share in T
        relative = torch.where(root > 0, F / root, 0.0) - root * (along + inner @ of_none)
        return of_none + root * torch.cholesky_solve(relative, torch.linalg.cholesky(B))


def moments(
    statistics: Sequence[Sequence[LayerStatistics]],
    strengths: Tensor,
    shares: Tensor,
    ridge: float,
    widths: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
) -> Moments:
    """The norms of layers of equal n, on the device of the weights; C = diag(d - diag(QSQᵀ))₊ + QSQᵀ.

    The diagonal less what the directions hold of it is not below 0 but for rounding.

    Args:
        statistics: of every adapter (N), a layer each (b): d the diagonal, Q the directions, S the eigenvalues.
        strengths: c_i > 0 (b, N).
        shares: ŵ_i >= 0 (b, N), in no layer all zero.
        ridge: the part of the mean eigenvalue that is added to each.
        widths: columns of Q for each adapter; None: as many as are needed.
        dtype: of what is returned; computed in float64 but for Q.
    """
    widths = widths or [max(len(layer.eigenvalues) for layer in own) for own in statistics]
    b, n, device = len(strengths), len(statistics[0][0].diagonal), strengths.device
    Q = torch.empty(b, sum(widths), n, dtype=dtype, device=device).mT
    parts = torch.split(Q, list(widths), -1)
    own, traces = zip(*map(_second_moment, statistics, parts, repeat(ridge)), strict=True)
    unit = n / (shares * strengths * torch.stack(traces, -1)).sum(-1, keepdim=True)
    strengths = unit * strengths
    scaled = [_times(metric, strengths[:, i]) for i, metric in enumerate(own)]
    weighted = [_times(metric, shares[:, i]) for i, metric in enumerate(scaled)]
    mean = Metric(
        torch.stack([metric.diagonal for metric in weighted]).sum(0),
        Q,
        torch.cat([metric.sizes for metric in weighted], -1),
    )
    return Moments(tuple(metric.to(dtype) for metric in scaled), mean.to(dtype))


def _second_moment(layers: Sequence[LayerStatistics], directions: Tensor, ridge: float) -> tuple[Metric, Tensor]:
    """Of one adapter, and its trace (b,); its directions are written into (b, n, k), the rest of which becomes zero."""
    b, _, most = directions.shape
    device = directions.device
    diagonal = torch.stack([layer.diagonal for layer in layers]).to(device, torch.float64)
    held = torch.stack([_held(layer) for layer in layers]).to(device, torch.float64)
    sizes = torch.zeros(b, most, dtype=torch.float64, device=device)
    for columns, size, layer in zip(directions, sizes, layers, strict=True):
        k = len(layer.eigenvalues)
        columns[:, :k], columns[:, k:] = layer.directions, 0
        size[:k] = layer.eigenvalues
    D = (diagonal - held).clamp_min(0) + ridge * diagonal.mean(-1, keepdim=True)
    return Metric(D, directions, sizes), (D + held).sum(-1)


def _held(layer: LayerStatistics) -> Tensor:
    """diag(QSQᵀ), no less precise than what the file has.  (n,)"""
    wide = torch.promote_types(layer.directions.dtype, torch.float32)
    return layer.directions.to(wide).square() @ layer.eigenvalues.to(wide)


def _times(metric: Metric, weights: Tensor) -> Metric:
    """w T for w >= 0 (b,)."""
    return Metric(weights[:, None] * metric.diagonal, metric.directions, weights[:, None] * metric.sizes)
