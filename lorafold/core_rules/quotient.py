"""The Fréchet mean of updates as points of a quotient: balanced factors up to a common rotation.

b = modules, N = adapters, r = rank of the merged subspaces, k = largest numerical rank of an adapter.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._spectral import spectrum
from lorafold.geometry.singular import svd

# Of the gradient norm, relative to the largest point: where it ends, and what is not said to be a minimum.
_TOLERANCE, _UNCONVERGED = 1e-12, 1e-6
_FIRST_STEPS, _MOST_STEPS = 30, 3000

_log = logging.getLogger(__name__)


@core_rule("quotient", averages=True)
def quotient(cores: Tensor, weights: Tensor) -> Tensor:
    """YZᵀ of the mean [Y; Z] of W_i = [U_iΣ_i^½; V_iΣ_i^½], each up to a rotation, C_i = U_iΣ_iV_iᵀ.

    (U, S, V) and (UO, OᵀSO, VO) are one update, and W and WO one point. With the metric that Euclidean space gives the
    quotient, d(W, W_i)² = min_O ‖W - W_iO‖², the mean minimises Σ ŵ_i d(W, W_i)²; a negative weight turns U_i. It is
    closed for two adapters, the polar factor of W_1ᵀW_2 turning one to the other; of more, turning and averaging go on
    until the gradient vanishes, from the best of those that a few steps from each adapter lead to. The rank is at most
    k. One adapter is itself, given twice too; of equal singular vectors the square roots of singular values are
    averaged. Where adapters have nothing in common the mean is not unique; of three there may be other minima.

    GeoMerge takes the affine-invariant metric for S instead, which all ranks must be equal for.

    Args:
        cores, weights: C_i (b, N, r, r) and w_i (b, N); ŵ_i are the shares of the |w_i| of what is there.

    Source: after da Silva et al., "Generalizing the Geometry of Model Merging Through Fréchet Averages",
    arXiv:2604.27155, whose authors published no code; Gower, "Generalized Procrustes analysis", Psychometrika 40
    (1975).
    """
    parts = spectrum(cores)
    k = max(1, int(parts.rank.max()))
    root = parts.sigma[..., :k].sqrt()[..., None, :]
    points = torch.cat([weights.sign()[..., None, None] * parts.left[..., :k] * root, parts.right[..., :k] * root], -2)
    sizes = weights.abs() * (parts.rank > 0)
    shares = sizes / sizes.sum(-1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
    mean = _mean(points, shares)
    r = cores.shape[-1]
    return mean[:, :r] @ mean[:, r:].mT


def _mean(points: Tensor, shares: Tensor) -> Tensor:
    """From the best of the means that a few steps from every point lead to.  (b, 2 r, k)"""
    count = points.shape[1]
    starts = points.transpose(0, 1).flatten(0, 1)  # (N b, 2 r, k)
    ends, _ = _walked(starts, points.repeat(count, 1, 1, 1), shares.repeat(count, 1), _FIRST_STEPS)
    ends = ends.view(count, *points[:, 0].shape)
    # the less is left of F, which is Σ ŵ_i‖W_i‖² - ‖W‖² after a step, the longer is W
    best = torch.linalg.matrix_norm(ends).argmax(0)
    mean, residual = _walked(ends[best, torch.arange(len(best), device=best.device)], points, shares, _MOST_STEPS)
    if left := int((residual > _UNCONVERGED).sum()):
        _log.warning("core=quotient: %d of %d modules have not converged in %d steps", left, len(best), _MOST_STEPS)
    return mean


def _walked(mean: Tensor, points: Tensor, shares: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """W ← Σ ŵ_iW_iO_i, so often, and the relative norm of the gradient; modules stop one by one.  (b, 2 r, k), (b,)"""
    mean = mean.clone()
    scale = torch.linalg.matrix_norm(points).amax(-1).clamp_min(torch.finfo(points.dtype).tiny)
    residual = torch.full_like(scale, torch.inf)
    for _ in range(steps):
        moving = (residual > _TOLERANCE).nonzero().squeeze(-1)
        if not len(moving):
            break
        Q, _, Rt = svd(points[moving].mT @ mean[moving, None])
        turned = (shares[moving, :, None, None] * (points[moving] @ (Q @ Rt))).sum(1)
        residual[moving] = torch.linalg.matrix_norm(turned - mean[moving]) / scale[moving]
        mean[moving] = turned
    return mean, residual
