"""Iso-C: the weighted sum with all singular values equal.

b = modules, N = adapters, r = rank of the merged subspaces.
"""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._spectral import spectrum


@core_rule("iso_c")
def iso_c(cores: Tensor, weights: Tensor) -> Tensor:
    """σ̄ UVᵀ of Σ w_iC_i = U diag(σ) Vᵀ, σ̄ being the mean of the singular values up to the numerical rank.

    The paper's merge is that of weights 1. Its code averages over min(m, n) values, most of them 0 for low-rank
    updates, and gives the null directions σ̄ as well. One adapter is not itself: its spectrum is flattened too.

    Source: Marczak et al., "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces",
    ICML 2025, arXiv:2502.04959, section 4.
    """
    parts = spectrum((weights[..., None, None] * cores).sum(1))
    return parts.mean[:, None, None] * (parts.left @ parts.right.mT)
