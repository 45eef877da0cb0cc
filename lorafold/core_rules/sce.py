"""SCE: select by variance, calculate coefficients from energies, erase minority signs."""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_rules._checks import check_density
from lorafold.core_rules._prune import count, largest
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._sign_election import agreeing, ratio

# Relative to the mean square of the entries: variance below this is rounding.
_ROUNDING = 1e-24


@core_rule("sce", elementwise=True, averages=True, check=check_density)
def sce(cores: Tensor, weights: Tensor, *, density: float) -> Tensor:
    """Σ η_iτ_i / Σ η_i over the adapters whose entry has the sign of Σ w_iC_i, with τ_i = sgn(w_i) C_i.

    1. Select: of every core only the positions stay at which the τ_i vary most, a fraction d of them. Where the
       adapters agree everywhere, as one adapter does with itself, all positions stay.
    2. Calculate: η_i = |w_i| ‖τ_i‖², of what was selected.
    3. Erase: entries against the elected sign do not count.

    The weights are an addition to the method, which has none: with equal ones this is the paper's, an adapter given
    twice counts as once at twice the weight, and their common size does not matter.

    Source: Wan et al., "FuseChat", arXiv:2408.07990, section 3.3; mergekit's `sce`.
    """
    signed = weights.sign()[..., None, None] * cores
    signed = signed * _select(signed, weights.abs(), density)[:, None]
    eta = (weights.abs() * signed.square().sum((-2, -1)))[..., None, None]
    agree = agreeing(weights.abs()[..., None, None] * signed)
    return ratio((eta * signed * agree).sum(1), (eta * agree).sum(1))


def _select(signed: Tensor, size: Tensor, density: float) -> Tensor:
    """Where the variance over the adapters, weighted by size (b, N), is largest.  (b, r, r)"""
    share = ratio(size, size.sum(-1, keepdim=True))[..., None, None]
    square = (share * signed.square()).sum(1)
    deviation = signed - (share * signed).sum(1, keepdim=True)
    variance = (share * deviation.square()).sum(1)
    varies = variance.sum((-2, -1)) > _ROUNDING * square.sum((-2, -1))
    return torch.where(varies[:, None, None], largest(variance, count(density, signed)), True)
