"""KnOTS-TIES: TIES in the adapters' joint left singular basis.

b = modules, N = adapters, r = rank of the merged subspaces.
"""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._registry import core_rule
from lorafold.core_rules.ties import check_election, ties
from lorafold.geometry.singular import svd


@core_rule("knots_ties", elementwise=True, averages=True, check=check_election)
def knots_ties(cores: Tensor, weights: Tensor, *, density: float, elect: str) -> Tensor:
    """U TIES(ΣV_1ᵀ, ..., ΣV_Nᵀ) with [C_1|...|C_N] = UΣ[V_1ᵀ|...|V_Nᵀ], where ΣV_iᵀ = UᵀC_i.

    Rows are those of KnOTS; columns are not: there an entry belongs to one input of the layer, here to one right
    direction of the merged subspaces, in the canonical gauge those in which the adapters together are strongest. That
    gauge has the rows of KnOTS too, so with rank=max `core=ties` gives the same.

    Args:
        cores, weights: C_i (b, N, r, r) and w_i (b, N).
        density, elect: as of `ties`.

    Source: Stoica et al., "Model merging with SVD to tie the KnOTS", ICLR 2025, arXiv:2410.19735.
    """
    present = cores * (weights != 0)[..., None, None]
    U = svd(present.transpose(1, 2).flatten(2)).U
    return U @ ties(U.mT[:, None] @ present, weights, density=density, elect=elect)
