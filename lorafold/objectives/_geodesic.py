"""Geodesic (arc-length) distance on the Grassmann manifold."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lorafold.objectives._distance import shared_dims, spectral_distance

_RIGHT_ANGLE_SQUARED = math.pi**2 / 4
# Cosines below this are zero but for rounding.
_CUT_LOCUS = 1e-12


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
    if bool((cos.where(real, 1.0) < _CUT_LOCUS).any()):
        Q, Rt = _off_the_cut_locus(Q, cos, Rt, dims)
    value = (angle.square() * real).sum(-1) * scale
    return value, (Q * (ratio * real * (-2 * scale))[..., None, :]) @ Rt


def _singular(overlap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """O = Q diag(c) Rᵀ, c descending, from the smaller Gram matrix: several times faster than a batched SVD.

    c is the norm of a row of QᵀO, not the root of an eigenvalue, which would lose half the digits. Where it is zero,
    one of the two singular vectors is zero too.
    """
    if overlap.shape[-2] > overlap.shape[-1]:
        R, cos, Qt = _singular(overlap.mT)
        return Qt.mT, cos, R.mT
    Q = torch.linalg.eigh(overlap @ overlap.mT).eigenvectors.flip(-1)
    rows = Q.mT @ overlap
    cos = torch.linalg.vector_norm(rows, dim=-1)
    return Q, cos.clamp_max(1), rows / cos.clamp_min(torch.finfo(cos.dtype).tiny)[..., None]


def _off_the_cut_locus(Q: Tensor, cos: Tensor, Rt: Tensor, dims: Tensor) -> tuple[Tensor, Tensor]:
    """Singular vectors for c = 0, where any choice is a subgradient but zero leads nowhere: θ² has a ridge there."""
    null = (cos < _CUT_LOCUS)[..., None, :]
    real = torch.arange(Q.shape[-2], device=dims.device) < dims[..., None]
    return _completed(Q, null, real), _completed(Rt.mT, null, torch.ones_like(Rt[..., 0, :], dtype=torch.bool)).mT


def _completed(frame: Tensor, null: Tensor, real: Tensor) -> Tensor:
    """The columns `null` replaced by unit vectors orthogonal to the others, on the rows `real`."""
    known = frame * ~null
    random = torch.Generator(device=frame.device).manual_seed(0)
    fill = torch.randn(frame.shape[-2:], generator=random, device=frame.device, dtype=frame.dtype) * real[..., None]
    fill = torch.nn.functional.normalize(fill - known @ (known.mT @ fill), dim=-2)
    return torch.where(null, fill, frame)
