"""From a function of the principal cosines to a function of the overlap matrix, with its slope in closed form.

b = modules, N = adapters, K = directions per adapter (zero-padded), r = rank, s = min(K, r).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.geometry.eigen import eigh
from lorafold.objectives.distances._side import spectral_weights

# profile(cos, real, rank): the distance (b, N) and its derivative by every cosine (b, N, s); `real` (b, N, s) marks the
# min(r, k_i) cosines that are principal, the others are padding.
Profile = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
# second(cos, real, rank): the second derivative by every cosine (b, N, s), where the distance is a sum over them.
Second = Callable[[Tensor, Tensor, int], Tensor]

# Cosines below this are zero but for rounding.
_CUT_LOCUS = 1e-12


def evaluate_spectral(profile: Profile, overlap: Tensor, dims: Tensor) -> tuple[Tensor, Tensor]:
    """δ and dδ/dO for O = Q diag(cos θ) Rᵀ (b, N, K, r): the slope is Q diag(dδ/dcos) Rᵀ.

    It is exact where autograd through an SVD is not: at repeated angles (Lewis 1996, Theorem 3.1).
    """
    Q, cos, Rt, real = _decomposed(overlap, dims)
    value, derivative = profile(cos, real, overlap.shape[-1])
    return value, (Q * (derivative * real)[..., None, :]) @ Rt


@dataclass(frozen=True)
class DistanceExpansion:
    """δ at O = Q diag(c) Rᵀ to second order; for the last three see `SpectralSide`."""

    value: Tensor  # (b, N)
    slope: Tensor  # dδ/dO (b, N, K, r)
    Q: Tensor  # (b, N, K, s)
    R: Tensor  # (b, N, r, s)
    within: Tensor  # (b, N, s, s)
    crossed: Tensor  # (b, N, s, s)
    outside: Tensor  # (b, N, 1, s)


def expand_spectral(profile: Profile, second: Second, overlap: Tensor, dims: Tensor) -> DistanceExpansion:
    """δ, dδ/dO and what its change needs, for a profile that is a sum over the angles."""
    Q, cos, Rt, real = _decomposed(overlap, dims)
    value, derivative = profile(cos, real, overlap.shape[-1])
    first = derivative * real
    weights = spectral_weights(cos, first, second(cos, real, overlap.shape[-1]) * real)
    return DistanceExpansion(value, (Q * first[..., None, :]) @ Rt, Q, Rt.mT, *weights)


def _decomposed(overlap: Tensor, dims: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Q, c, Rᵀ, and which c are cosines of principal angles (b, N, s)."""
    Q, cos, Rt = _singular(overlap)
    shared = dims.clamp_max(overlap.shape[-1])
    real = torch.arange(cos.shape[-1], device=cos.device) < shared[..., None]
    if bool((cos.where(real, 1.0) < _CUT_LOCUS).any()):
        Q, Rt = _off_the_cut_locus(Q, cos, Rt, dims)
    return Q, cos, Rt, real


def _singular(overlap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """O = Q diag(c) Rᵀ, c descending, from the smaller Gram matrix: several times faster than a batched SVD.

    c is the norm of a row of QᵀO, not the root of an eigenvalue, which would lose half the digits. Where it is zero,
    one of the two singular vectors is zero too.
    """
    if overlap.shape[-2] > overlap.shape[-1]:
        R, cos, Qt = _singular(overlap.mT)
        return Qt.mT, cos, R.mT
    Q = eigh(overlap @ overlap.mT).vectors.flip(-1)
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
