"""Geodesic (arc-length) distance on the Grassmann manifold."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lorafold.objectives._distance import shared_dims, spectral_distance

_RIGHT_ANGLE_SQUARED = math.pi**2 / 4


def _shift(rank: int) -> float:
    """-arccos(c)² + c² is convex on [0, 1]: its second derivative is 2 c (θ - sinθ cosθ) / sin³θ >= 0."""
    return 1 / (rank * _RIGHT_ANGLE_SQUARED)


@spectral_distance("geodesic", shift=_shift)
def geodesic(overlap: Tensor, dims: Tensor) -> tuple[Tensor, Tensor]:
    """δ = Σ_j θ_j² / (r π²/4), over the min(r, k_i) principal angles.

    With O = Q diag(cos θ) Rᵀ the slope is -Q diag(2 θ / sin θ) Rᵀ / (r π²/4): finite everywhere, and exact where
    autograd through an SVD is not (repeated angles). Edelman, Arias & Smith 1998, section 4.3.
    """
    scale = 1 / (overlap.shape[-1] * _RIGHT_ANGLE_SQUARED)
    Q, cos, Rt = _singular(overlap)
    sin = (1 - cos.square()).clamp_min(0).sqrt()
    angle = torch.atan2(sin, cos)
    # θ / sin θ -> 1 as θ -> 0
    ratio = torch.where(sin > 0, angle / sin, 1.0)
    real = torch.arange(cos.shape[-1], device=cos.device) < shared_dims(overlap, dims)[..., None]
    value = (angle.square() * real).sum(-1) * scale
    return value, (Q * (ratio * real * (-2 * scale))[..., None, :]) @ Rt


def _singular(overlap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """O = Q diag(c) Rᵀ, c descending, from the smaller Gram matrix: several times faster than a batched SVD.

    c is the norm of a row of QᵀO, not the root of an eigenvalue, which would lose half the digits.
    """
    if overlap.shape[-2] > overlap.shape[-1]:
        R, cos, Qt = _singular(overlap.mT)
        return Qt.mT, cos, R.mT
    Q = torch.linalg.eigh(overlap @ overlap.mT).eigenvectors.flip(-1)
    rows = Q.mT @ overlap
    cos = torch.linalg.vector_norm(rows, dim=-1)
    return Q, cos.clamp_max(1), rows / cos.clamp_min(torch.finfo(cos.dtype).tiny)[..., None]
