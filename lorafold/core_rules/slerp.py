"""Spherical interpolation between two adapters.

b = modules, N = adapters = 2, r = rank of the merged subspaces.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lorafold.core_rules._registry import core_rule

# Below this sin θ, of |cos θ| > 0.9995, the arc is a straight line, or undetermined.
_STRAIGHT = math.sqrt(1 - 0.9995**2)


@core_rule("slerp", adapters=2, averages=True)
def slerp(cores: Tensor, weights: Tensor) -> Tensor:
    """(sin((1-t)θ) X_1 + sin(tθ) X_2) / sin θ with X_i = sgn(w_i) C_i and t = |w_2| / (|w_1| + |w_2|).

    θ is the angle between X_1 and X_2 as vectors; they keep their norms. Where |cos θ| > 0.9995 the result is
    (1-t) X_1 + t X_2. An adapter that lacks the module, or whose weight is 0, leaves the other as it is.

    Source: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; as `slerp` of mergekit.
    """
    ends = weights.sign()[..., None, None] * cores
    return interpolated(ends.flatten(2), weights.abs(), _STRAIGHT).view(cores[:, 0].shape)


def interpolated(ends: Tensor, sizes: Tensor, straight: float) -> Tensor:
    """The points between pairs of vectors on their arcs, at the ratio of the sizes.  (b, d)

    Args:
        ends: x_1 and x_2 (b, 2, d); where one is zero the other stays as it is.
        sizes: |w_1| and |w_2| (b, 2), or (2,) for all.
        straight: the sine of the angle below which the arc is a straight line.
    """
    norms = torch.linalg.vector_norm(ends, dim=-1)  # (b, 2)
    sizes = sizes * (norms > 0)
    t = sizes[:, 1] / sizes.sum(-1).clamp_min(torch.finfo(sizes.dtype).tiny)
    product = norms.prod(-1)
    cosine = (ends[:, 0] * ends[:, 1]).sum(-1) / torch.where(product > 0, product, 1.0)
    return (_shares(cosine.clamp(-1, 1).arccos(), t, straight)[..., None] * ends).sum(1)


def _shares(theta: Tensor, t: Tensor, straight: float) -> Tensor:
    """Of the two ends.  (b, 2)"""
    line, sine = torch.stack([1 - t, t], -1), theta.sin()[:, None]
    return torch.where(sine < straight, line, (line * theta[:, None]).sin() / sine.clamp_min(straight))
