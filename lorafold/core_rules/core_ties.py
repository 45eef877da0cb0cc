"""TIES in Core Space as its authors have it: in the singular bases of the stacked factors.

b = modules, N = adapters, r = rank of the merged subspaces, K = largest rank of an adapter.
"""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._registry import Factors, core_rule
from lorafold.core_rules.ties import check_election, ties
from lorafold.geometry.singular import svd


@core_rule("core_ties", factors=True, averages=True, check=check_election)
def core_ties(factors: Factors, weights: Tensor, *, density: float, elect: str) -> Tensor:
    """P TIES(PᵀC_1Q, ..., PᵀC_NQ) Qᵀ, P and Q the left singular bases of [B_1|...|B_N] and [A_1ᵀ|...|A_Nᵀ].

    The factors count as they are in the files, so it depends on the gauge: (BG, G⁻¹A) has other bases than (B, A).
    `ties` takes the bases of the updates instead, which no gauge changes. With core_rank=max and equal weights it is
    what the authors' code gives, up to the one entry more that theirs keeps.

    Args:
        factors, weights: UᵀB_i, A_iV, s_i, r_i, and w_i (b, N).
        density, elect: as of `ties`.

    Source: Panariello et al., "Accurate and Efficient Low-Rank Model Merging in Core Space", NeurIPS 2025,
    arXiv:2509.17786.
    """
    present = ((weights != 0) & (factors.scales != 0))[..., None, None]
    ups, downs = factors.ups * present, factors.downs * present
    P = svd(ups.transpose(1, 2).flatten(2)).U
    Q = svd(downs.mT.transpose(1, 2).flatten(2)).U
    cores = factors.scales[..., None, None] * (P.mT[:, None] @ ups) @ (downs @ Q[:, None])
    return P @ ties(cores, weights, density=density, elect=elect) @ Q.mT
