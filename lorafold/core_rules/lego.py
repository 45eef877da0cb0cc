"""LoRA-LEGO: rank-one units of all adapters, clustered.

b = modules, N = adapters, r = rank of the merged subspaces, K = largest rank of an adapter, M = N K units, d = 2 r.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lorafold.core_rules._registry import Factors, core_rule

_MOST_STEPS = 300  # as scikit-learn


@core_rule("lego", factors=True, elementwise=True)
def lego(factors: Factors, weights: Tensor) -> Tensor:
    """√(M / k) Σ_c b_c a_cᵀ over the k cluster centres [a_c, b_c] of the M units [row j of A_i, column j of w_is_iB_i].

    The units are clustered into at most r by k-means; every centre is then scaled to the mean largest entry of its
    units. With no more units than r each is a cluster, and the result is the weighted sum. It depends on the gauge:
    (BG, G⁻¹A) has other units than (B, A), be it for a G that only scales. k-means starts from the unit of largest norm
    and then each time the one farthest from those, not from random ones, so that the order of the adapters does not
    count. Weights scale the columns, so they take part in the clustering.

    Args:
        factors, weights: UᵀB_i, A_iV, s_i, r_i, and w_i (b, N).

    Source: Zhao et al., "Merging LoRAs like Playing LEGO: Pushing the Modularity of LoRA to Extremes Through Rank-Wise
    Clustering", ICLR 2025, arXiv:2409.16167, as the code of Compress-then-Merge has it.
    """
    rank = factors.ups.shape[-2]
    units = torch.cat([factors.downs, ((weights * factors.scales)[..., None, None] * factors.ups).mT], -1).flatten(1, 2)
    real = torch.arange(factors.downs.shape[-2], device=units.device) < factors.ranks[..., None]  # (b, N, K)
    real = (real & (weights * factors.scales != 0)[..., None]).flatten(1)
    members = _clusters(units, real, min(rank, units.shape[1]))  # (b, M, k)
    sizes = members.sum(1)
    centres = _centres(units, members)
    target = (members * units.abs().amax(-1, keepdim=True)).sum(1) / sizes.clamp_min(1)
    heights = centres.abs().amax(-1)
    centres = centres * (target / torch.where(heights > 0, heights, torch.inf))[..., None]
    strength = (sizes.sum(-1) / (sizes > 0).sum(-1).clamp_min(1)).sqrt()  # √(M / k)
    return strength[:, None, None] * (centres[..., rank:].mT @ centres[..., :rank])


def _clusters(units: Tensor, real: Tensor, k: int) -> Tensor:
    """Which of k clusters each real unit belongs to, as 0 and 1; some may stay empty.  (b, M, k)"""
    members = _assigned(units, real, _start(units, real, k))
    for _ in range(_MOST_STEPS):
        centres = _centres(units, members).masked_fill(members.sum(1)[..., None] == 0, torch.inf)
        moved = _assigned(units, real, centres)
        if torch.equal(moved, members):
            break
        members = moved
    return members


def _start(units: Tensor, real: Tensor, k: int) -> Tensor:
    """The unit of largest norm, then each time the one farthest from those; infinite where none is left.  (b, k, d)"""
    nearest = torch.linalg.vector_norm(units, dim=-1)  # to the origin, then to what is chosen
    chosen, starts = ~real, []
    for step in range(k):
        nearest = nearest.masked_fill(chosen, -torch.inf)
        index = nearest.argmax(-1, keepdim=True)  # (b, 1)
        centre = units.gather(1, index[..., None].expand(-1, -1, units.shape[-1]))  # (b, 1, d)
        starts.append(centre.masked_fill(chosen.all(-1)[:, None, None], torch.inf))
        apart = torch.linalg.vector_norm(units - centre, dim=-1)
        nearest = torch.minimum(nearest, apart) if step else apart
        chosen = chosen.scatter(1, index, True)
    return torch.cat(starts, 1)


def _assigned(units: Tensor, real: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each unit, as 0 and 1.  (b, M, k)"""
    apart = torch.cdist(units, centres, compute_mode="donot_use_mm_for_euclid_dist")  # which is exact for equal rows
    return one_hot(apart.argmin(-1), centres.shape[1]).to(units.dtype) * real[..., None]


def _centres(units: Tensor, members: Tensor) -> Tensor:
    """The mean of each cluster; 0 if it is empty.  (b, k, d)"""
    return members.mT @ units / members.sum(1).clamp_min(1)[..., None]
