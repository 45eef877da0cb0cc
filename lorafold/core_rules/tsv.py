"""TSV-Merge: the adapters' singular vectors, made orthogonal to each other.

b = modules, N = adapters, r = rank of the merged subspaces, k_i = numerical rank of C_i.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_rules._checks import check_word
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._spectral import isometry, spectrum

_KEEP = ("fair", "all")


def _check(keep: str) -> None:
    check_word("keep", keep, _KEEP)


@core_rule("tsv", check=_check)
def tsv(cores: Tensor, weights: Tensor, *, keep: str) -> Tensor:
    """Û diag(Σ_1, ..., Σ_N) V̂ᵀ with w_iC_i = U_iΣ_iV_iᵀ and Û, V̂ the polar factors of [U_1|...|U_N], [V_1|...|V_N].

    The paper's merge is that of weights 1. One adapter is itself; so are adapters whose row and column spaces are
    orthogonal, together. Where the kept directions are dependent, the polar factor is the one on their span, so that
    an adapter given twice is itself; where they are more than r, its rows are orthonormal instead of its columns.

    Args:
        cores, weights: C_i (b, N, r, r) and w_i (b, N).
        keep: singular directions of each C_i that take part. "fair": together at most r, as many of each adapter
            as the others (the paper's k = r / N), unless it has fewer; if all fit, all. "all": k_i.

    Source: Gargiulo et al., "Task Singular Vectors: Reducing Task Interference in Model Merging", CVPR 2025,
    arXiv:2412.00081 (TSV-Merge). There k counts null directions of low-rank updates as well.
    """
    parts = spectrum(weights[..., None, None] * cores)
    if keep == "fair":
        parts = parts.leading(_fair(parts.rank, cores.shape[-1]))
    parts = parts.pooled()
    return isometry(parts.left) * parts.sigma[:, None, :] @ isometry(parts.right).mT


def _fair(ranks: Tensor, room: int) -> Tensor:
    """The largest k with Σ min(k_i, k) <= room, for k_i = ranks (b, N).  (b, 1)"""
    quotas = torch.arange(1, room + 1, device=ranks.device)
    taken = torch.minimum(ranks[..., None], quotas).sum(1)  # (b, room), grows with the quota
    return (taken <= room).sum(-1, keepdim=True)
