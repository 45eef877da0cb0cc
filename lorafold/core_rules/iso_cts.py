"""Iso-CTS: common and task-specific directions, with one singular value for all.

b = modules, N = adapters, r = rank of the merged subspaces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._spectral import isometry, spectrum
from lorafold.core_space import RANK_TOLERANCE


def _check(common: float) -> None:
    if not 0 <= common <= 1:
        raise LorafoldError(f"core.common={common}, expected a share from 0 to 1", remedy="The paper's is 0.8.")


@core_rule("iso_cts", check=_check)
def iso_cts(cores: Tensor, weights: Tensor, *, common: float) -> Tensor:
    """σ̄ ÛV̂ᵀ: polar factors of the leading directions of M = Σ w_iC_i beside those that each w_iC_i has besides.

    With k the numerical rank of M and T the number of adapters that have the module, U_0 and V_0 are the k - T s
    leading singular directions of M; each adapter adds the s leading ones of (I - U_0U_0ᵀ) w_iC_i, where T s is
    (1 - common) k, rounded. σ̄ is the mean of the singular values of all of them. The paper's merge is that of
    weights 1. With common=1, or with one adapter, it is `iso_c`.

    Args:
        cores, weights: C_i (b, N, r, r) and w_i (b, N).
        common: share of the directions that come from M, 0 to 1.

    Source: Marczak et al., "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces",
    ICML 2025, arXiv:2502.04959, section 4, where k = min(m, n).
    """
    terms = weights[..., None, None] * cores
    total = spectrum(terms.sum(1))
    tasks = terms.flatten(2).any(-1).sum(-1)  # (b,)
    each = _specific(total.rank, tasks, common)
    shared = total.leading(total.rank - tasks * each)
    residuals = terms - (shared.left @ shared.left.mT)[:, None] @ terms
    specific = spectrum(residuals, floor=RANK_TOLERANCE * torch.linalg.matrix_norm(terms)).leading(each[:, None])
    parts = shared.beside(specific.pooled())
    return parts.mean[:, None, None] * (isometry(parts.left) @ isometry(parts.right).mT)


def _specific(rank: Tensor, tasks: Tensor, common: float) -> Tensor:
    """s: the rounded share of every task in the directions that are not common, as far as they go round.  (b,)"""
    free = rank - (common * rank.double() + 1e-9).floor().long()  # 0.7 x 10 is a little less than 7
    tasks = tasks.clamp_min(1)
    return torch.minimum((free / tasks).round().long(), rank // tasks)
