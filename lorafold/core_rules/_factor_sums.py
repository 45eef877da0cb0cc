"""The product of sums of factors, for the rules that tools with this habit need to be repeated.

b = modules, N = adapters, r = rank of the merged subspaces, K = common rank of the adapters.
"""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._registry import Factors


def added(factors: Factors, up: Tensor, down: Tensor) -> Tensor:
    """(Σ up_i UᵀB_i) (Σ down_i A_iV) for coefficients (b, N).  (b, r, r)"""
    ups = (up[..., None, None] * factors.ups).sum(1)
    downs = (down[..., None, None] * factors.downs).sum(1)
    return ups @ downs
