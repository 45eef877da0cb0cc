"""Spherical interpolation between two adapters.

b = modules, N = adapters = 2, r = rank of the merged subspaces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_rules._registry import core_rule

# Beyond this |cos θ| the arc is a straight line, or undetermined.
_STRAIGHT = 0.9995


@core_rule("slerp", adapters=2, averages=True)
def slerp(cores: Tensor, weights: Tensor) -> Tensor:
    """(sin((1-t)θ) X_1 + sin(tθ) X_2) / sin θ with X_i = sgn(w_i) C_i and t = |w_2| / (|w_1| + |w_2|).

    θ is the angle between X_1 and X_2 as vectors; they keep their norms. Where |cos θ| > 0.9995 the result is
    (1-t) X_1 + t X_2. An adapter that lacks the module, or whose weight is 0, leaves the other as it is.

    Source: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; as `slerp` of mergekit.
    """
    ends = weights.sign()[..., None, None] * cores
    norms = torch.linalg.matrix_norm(ends)  # (b, 2)
    sizes = weights.abs() * (norms > 0)
    t = sizes[:, 1] / sizes.sum(-1).clamp_min(torch.finfo(sizes.dtype).tiny)
    product = norms.prod(-1)
    cosine = (ends[:, 0] * ends[:, 1]).sum((-2, -1)) / torch.where(product > 0, product, 1.0)
    return (_coefficients(cosine.clamp(-1, 1), t)[..., None, None] * ends).sum(1)


def _coefficients(cosine: Tensor, t: Tensor) -> Tensor:
    """The shares of the two ends.  (b, 2)"""
    theta = cosine.arccos()
    shares = torch.stack([1 - t, t], -1)
    arc = (shares * theta[:, None]).sin() / theta.sin().clamp_min(torch.finfo(theta.dtype).tiny)[:, None]
    return torch.where(cosine.abs()[:, None] > _STRAIGHT, shares, arc)
