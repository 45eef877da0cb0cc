"""Pico: output directions that many adapters share, scaled down before the sum.

b = modules, N = adapters, r = rank of the merged subspaces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_rules._registry import core_rule

# Of Σ‖X_i‖: what rounding leaves of a sum that cancels.
_ROUNDING = 1e-12


@core_rule("pico")
def pico(cores: Tensor, weights: Tensor) -> Tensor:
    """γ S Σ X_i with X_i = w_iC_i, S = I + U diag(α - 1) Uᵀ, and γ such that the norm becomes Σ ‖X_i‖.

    U and σ are the left singular vectors and values of B = [B_1|...|B_N], α_j = 1 / (1 + (T-1) σ_j² / Σσ²), and T
    counts the adapters that have the module. As α_j is a function of the eigenvalues of BBᵀ, no SVD is needed:

        S = (I + (T-1) BBᵀ / tr BBᵀ)⁻¹.

    The paper's B_i are the factors as they are, which every gauge changes. Here B_i = X_i, the up factor of the gauge
    with orthonormal down rows: BBᵀ = Σ X_iX_iᵀ, and the result depends on the updates alone. Down factors, which
    start random, nearly orthogonal, and move little, are close to that gauge. At weights 1 / T the norm is the
    paper's, the mean of the ‖ΔW_i‖ (of what the subspaces hold of them). One adapter is itself.

    Source: Tang & Yang, "Crowded in B-Space: Calibrating Shared Directions for LoRA Merging", arXiv:2604.16826,
    section 4, over task arithmetic.
    """
    terms = weights[..., None, None] * cores
    norms = torch.linalg.matrix_norm(terms)  # (b, N)
    gram = (terms @ terms.mT).sum(1)
    trace = norms.square().sum(-1)
    share = ((norms > 0).sum(-1) - 1).clamp_min(0) / torch.where(trace > 0, trace, 1.0)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    calibrated = torch.linalg.solve(eye + share[:, None, None] * gram, terms.sum(1))
    size, wanted = torch.linalg.matrix_norm(calibrated), norms.sum(-1)
    gamma = torch.where(size > _ROUNDING * wanted, wanted / torch.where(size > 0, size, 1.0), 0.0)
    return gamma[:, None, None] * calibrated
