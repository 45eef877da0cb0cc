"""CART: the mean, and the leading directions in which each adapter departs from it.

b = modules, N = adapters, r = rank of the merged subspaces.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._spectral import spectrum


def _check(share: float, strength: float) -> None:
    if not 0 <= share <= 1:
        raise LorafoldError(f"core.share={share}, expected a share from 0 to 1", remedy="For example core.share=0.25.")
    if not math.isfinite(strength):
        raise LorafoldError(f"core.strength={strength}, expected a finite number", remedy="The paper's are about 1.")


@core_rule("cart", check=_check)
def cart(cores: Tensor, weights: Tensor, *, share: float, strength: float) -> Tensor:
    """Σ|w_i| (X̄ + λ T Σ a_i trunc_k(X_i - X̄)) with X_i = sgn(w_i) C_i, a_i = |w_i| / Σ|w_i| and X̄ = Σ a_iX_i.

    T counts the adapters that have the module; only they enter. With equal weights 1 / T it is the paper's
    X̄ + λ Σ trunc_k(C_i - X̄). One adapter is itself; so is the weighted sum for share=0 and, at equal weights, for
    share=1, where the departures cancel.

    Args:
        cores, weights: C_i (b, N, r, r) and w_i (b, N).
        share: of the singular directions of each X_i - X̄ that are kept, 0 to 1, rounded up. The paper keeps 8 % of
            full-rank updates; of low-rank ones in full space that is all of them, and they cancel.
        strength: λ.

    Source: Choi et al., "Revisiting Weight Averaging for Model Merging", arXiv:2412.12153.
    """
    sizes = weights.abs() * cores.flatten(2).any(-1)
    scale = sizes.sum(-1)
    shares = sizes / scale[:, None].clamp_min(torch.finfo(sizes.dtype).tiny)
    signed = weights.sign()[..., None, None] * cores
    mean = (shares[..., None, None] * signed).sum(1)
    departures = spectrum(signed - mean[:, None])
    count = (share * departures.rank.to(shares.dtype) - 1e-9).ceil()  # 0.28 x 25 is a little more than 7
    tasks = (sizes > 0).sum(-1).to(sizes.dtype)
    leading = (shares[..., None, None] * departures.leading(count).matrix()).sum(1)
    return scale[:, None, None] * (mean + strength * tasks[:, None, None] * leading)
