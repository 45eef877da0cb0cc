"""The Riemannian mean of the updates' directions.

b = modules, N = adapters, r = rank of the merged subspaces, d = r².
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_rules._registry import core_rule

_TOLERANCE = 1e-12  # of the gradient norm, in radians
_MOST_STEPS = 1000


@core_rule("karcher", averages=True)
def karcher(cores: Tensor, weights: Tensor) -> Tensor:
    """(Σ a_i‖C_i‖) x, with x the mean of the points x_i = sgn(w_i) C_i / ‖C_i‖ of the unit sphere of matrices.

    x minimises Σ a_i d(x, x_i)², d being the angle and a_i = |w_i| / Σ|w_i| over the adapters that have the module:
    x ← Exp_x(Σ a_i Log_x(x_i)) from the normalised Euclidean mean. Points whose Euclidean mean vanishes have no
    mean; they cancel, and the result is 0. As the result depends on inner products alone, it turns with the bases.

    Source: Karcher, "Riemannian center of mass and mollifier smoothing", Comm. Pure Appl. Math. 30 (1977); as
    `karcher` of mergekit, whose weights are equal and which stops after 10 steps or at 1e-5.
    """
    norms = torch.linalg.matrix_norm(cores)  # (b, N)
    sizes = weights.abs() * (norms > 0)
    shares = sizes / sizes.sum(-1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
    points = (weights.sign() / torch.where(norms > 0, norms, 1.0))[..., None] * cores.flatten(2)  # (b, N, d)
    mean = _sphere_mean(points, shares)
    return ((shares * norms).sum(-1)[:, None] * mean).view(cores[:, 0].shape)


def _sphere_mean(points: Tensor, shares: Tensor) -> Tensor:
    """The mean of unit vectors (b, N, d) with shares (b, N); modules stop one by one.  (b, d)"""
    mean = _unit((shares[..., None] * points).sum(1))
    for _ in range(_MOST_STEPS):
        step = _gradient(mean, points, shares)
        length = torch.linalg.vector_norm(step, dim=-1, keepdim=True)
        moving = length > _TOLERANCE
        if not bool(moving.any()):
            break
        along = length.cos() * mean + (length.sin() / torch.where(moving, length, 1.0)) * step
        mean = torch.where(moving, _unit(along), mean)
    return mean


def _gradient(mean: Tensor, points: Tensor, shares: Tensor) -> Tensor:
    """Σ a_i Log_x(x_i); a point opposite to x, towards which no direction leads, counts as 0.  (b, d)"""
    cosine = (points @ mean[..., None]).squeeze(-1)  # (b, N)
    across = points - cosine[..., None] * mean[:, None]
    sine = torch.linalg.vector_norm(across, dim=-1)
    ratio = torch.where(sine > _TOLERANCE, torch.atan2(sine, cosine) / sine.clamp_min(_TOLERANCE), 0.0)
    return ((shares * ratio)[..., None] * across).sum(1)


def _unit(vectors: Tensor) -> Tensor:
    """Normalised (b, d); what rounding leaves of vectors that cancel becomes 0."""
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors * (norms > _TOLERANCE) / norms.clamp_min(_TOLERANCE)
