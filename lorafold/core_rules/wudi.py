"""WUDI: the update that interferes least with every adapter on that adapter's own inputs.

b = modules, N = adapters, r = rank of the merged subspaces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.core_rules._registry import core_rule


def _check(ridge: float) -> None:
    if not 0 < ridge < float("inf"):
        raise LorafoldError(f"core.ridge={ridge}, expected a number > 0", remedy="For example core.ridge=1e-6.")


@core_rule("wudi", check=_check)
def wudi(cores: Tensor, weights: Tensor, *, ridge: float) -> Tensor:
    """argmin_W Σ ‖(W - X_i) X_iᵀ‖² / ‖X_i‖² + μ ‖W - Σ X_i‖² with X_i = w_iC_i.

    The rows of an update span the inputs that its training saw, so that (W - X_i) X_iᵀ is what W does wrong on those
    of adapter i: the right, or input, side is the one that counts. With G_i = X_iᵀX_i / ‖X_i‖² the minimiser solves

        W (Σ G_i + μ I) = Σ X_iG_i + μ Σ X_i.

    The paper descends from Σ X_i by a fixed number of steps, which leaves directions of little energy where they
    start; the ridge towards Σ X_i does it by a stated amount. μ = ridge · tr Σ G_i = ridge · T does not depend on the
    adapters' scale. ridge -> 0 gives the minimiser of least distance to Σ X_i, ridge -> ∞ that sum itself. The
    paper's merge is that of weights 1; one adapter is itself.

    Args:
        cores, weights: C_i (b, N, r, r) and w_i (b, N).
        ridge: > 0; below 1e-12 rounding decides where the G_i have no energy.

    Source: Cheng et al., "Whoever Started the Interference Should End It: Guiding Data-Free Model Merging via Task
    Vectors", ICML 2025, arXiv:2503.08099.
    """
    terms = weights[..., None, None] * cores
    energies = terms.square().sum((-2, -1))  # (b, N)
    grams = terms.mT @ terms / torch.where(energies > 0, energies, 1.0)[..., None, None]
    strength = ridge * (energies > 0).sum(-1).clamp_min(1).to(energies.dtype)  # μ (b,)
    system = grams.sum(1) + torch.diag_embed(strength[:, None].expand(-1, cores.shape[-1]))
    target = (terms @ grams).sum(1) + strength[:, None, None] * terms.sum(1)
    return torch.cholesky_solve(target.mT, torch.linalg.cholesky(system)).mT
