"""A strength for each singular direction of the merged update, in place of one λ for all.

b = modules, N = adapters, p / q = left / right dimension, r = rank of the merged subspaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lorafold.core_space.problem import Problem
from lorafold.geometry.singular import svd

# α of the paper: the least presence of an adapter that a direction is divided by.
_LEAST = 0.1


def svc(problem: Problem, left: Tensor, right: Tensor, merged: Tensor) -> Tensor:
    """Σ_j σ_j / Σ_i ŵ_i max(α, s_ji) u_jv_jᵀ of the merged update ΔW_3 = Σ_j σ_ju_jv_jᵀ: singular value calibration.

    s_ji = sgn(w_i) ⟨u_jᵀΔW_3, u_jᵀΔW_i⟩ / ‖u_jᵀΔW_i‖² says how much of adapter i is in direction j: what the adapters
    share, a sum has several times. ŵ_i is the paper's 1/T at equal weights, and vanishes with the adapter's norm: a
    zero adapter changes nothing. One adapter is itself, one given twice comes out once, and a module that only one
    has at full strength. Adapters that share nothing are up to T times as strong as their sum: 2 / 1.1 for two. Norms
    should be alike, or `balance` on: a weak adapter's s_ji is large wherever a strong one happens to lean its way.

    Args:
        problem: the updates.
        left, right: U and V (b, p, r), (b, q, r).
        merged: (b, r, r), with ΔW_3 = U merged Vᵀ.

    Source: Li et al., "When Shared Knowledge Hurts: Spectral Over-Accumulation in Model Merging", ICML 2026,
    arXiv:2602.05536, as their code; α = 0.1 is their README's, their script takes 1/T, and 1 after TSV-Merge.
    """
    Q, sigma, Rt = svd(merged)
    rows = ((left @ Q).mT[:, None] @ problem.left) @ problem.core  # u_jᵀΔW_i in the frame V_i (b, N, r, K)
    energies = rows.square().sum(-1)
    along = rows @ (problem.right.mT @ (right @ Rt.mT)[:, None])  # u_jᵀΔW_iv_l (b, N, r, r)
    products = problem.weights.sign()[..., None] * sigma[:, None] * along.diagonal(dim1=-2, dim2=-1)
    present = products / torch.where(energies > 0, energies, torch.inf)  # s_ji (b, N, r)
    total = (problem.shares[..., None] * present.clamp_min(_LEAST)).sum(1)
    return (Q * (sigma / total.clamp_min(torch.finfo(total.dtype).tiny))[:, None]) @ Rt


# By the name that `scale=` takes.
PER_DIRECTION: Mapping[str, Callable[[Problem, Tensor, Tensor, Tensor], Tensor]] = {"svc": svc}
