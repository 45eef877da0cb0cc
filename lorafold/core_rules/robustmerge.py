"""RobustMerge: pruned factors, their columns rescaled across adapters, summed factor by factor.

b = modules, N = adapters, r = rank of the merged subspaces, K = largest rank of an adapter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_rules._checks import check_density
from lorafold.core_rules._registry import Factors, core_rule


@core_rule("robustmerge", factors=True, elementwise=True, equal_ranks=True, check=check_density)
def robustmerge(factors: Factors, weights: Tensor, *, density: float) -> Tensor:
    """(Σ w_is_i B̃_i diag(c_i)) (Σ Ã_i): B̃_i, Ã_i keep the largest entries; c_ij = c'_ij / Σ_l c'_lj.

    c'_ij = ‖A_i[j]‖₁ / ‖Ã_i[j]‖₁ says how much pruning took from row j (0 if everything). Adapters of weight 0 do not
    count. It depends on the gauge: rows and columns of different adapters are added as if they belonged together,
    and (BG, G⁻¹A) gives another result than (B, A). It also works on entries, here those in the merged subspaces.

    Args:
        factors, weights: UᵀB_i, A_iV, s_i, r_i, and w_i (b, N).
        density: share of the entries of each factor that are kept, in (0, 1].

    Source: Zeng et al., "Parameter Efficient Merging for Multimodal Large Language Models with Direction Robustness",
    arXiv:2502.17159 (RobustMerge), as the code of Compress-then-Merge has it, where c_ij is not clamped.
    """
    counts = density * factors.ranks.double() * factors.ups.shape[-2]
    taking_part = ((factors.ranks > 0) & (weights != 0) & (factors.scales != 0))[..., None, None]
    downs = factors.downs * taking_part
    ups = _largest(factors.ups * taking_part, counts) * (weights * factors.scales)[..., None, None]
    pruned = _largest(downs, counts)
    left = pruned.abs().sum(-1)  # (b, N, K)
    ratio = downs.abs().sum(-1) / torch.where(left > 0, left, torch.inf)
    ratio = ratio / ratio.sum(1, keepdim=True).clamp_min(torch.finfo(ratio.dtype).tiny)
    return (ups * ratio[..., None, :]).sum(1) @ pruned.sum(1)


def _largest(entries: Tensor, counts: Tensor) -> Tensor:
    """Zero but for the `counts` (b, N), rounded down, at least 1, entries of largest magnitude; ties all stay."""
    sizes = entries.abs().flatten(2)
    last = (counts + 1e-9).floor().long().clamp(1, sizes.shape[-1]) - 1  # 0.29 x 100 is a little less than 29
    threshold = sizes.sort(-1, descending=True).values.gather(-1, last[..., None])
    return entries * (sizes >= threshold).view(entries.shape)
