"""Reconstruction loss with the middle factor eliminated: ρ = constant - Σ_j ‖UᵀT_jV‖².

b = modules, J = targets, p / q = left / right dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.core_space.problem import Problem


def _mean(problem: Problem, rescale: float) -> tuple[Tensor, Tensor]:
    target = problem.target[:, None]
    return target, torch.ones_like(problem.weights[:, :1])


def _each(problem: Problem, rescale: float) -> tuple[Tensor, Tensor]:
    shares = problem.shares
    if rescale:
        norms = problem.energies.sqrt()
        sizes = rescale * norms + (1 - rescale) * (shares * norms).sum(-1, keepdim=True)
        shares = shares * sizes.square()
        shares = shares / shares.sum(-1, keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)
    return problem.updates(), shares


def emphasis(problem: Problem, reconstruction: str, rescale: float) -> Tensor:
    """How much each update counts for the subspaces: T_i / ΔW_i where each has a target of its own, else 1.  (b, N)"""
    if reconstruction != "each":
        return torch.ones_like(problem.weights)
    norms = problem.energies.sqrt()
    return torch.where(norms > 0, _each(problem, rescale)[1].sqrt() / norms, 0.0)


RECONSTRUCTIONS = {"mean": _mean, "each": _each, "calibrated": _mean}


def targets(problem: Problem, kind: str, rescale: float) -> tuple[Tensor, Tensor]:
    """The T_j of a reconstruction loss and its value at UᵀT_jV = 0.

    mean: ρ = ‖M - UUᵀMVVᵀ‖² / ‖M‖², M = Σ w_i ΔW_i (Eckart-Young when it stands alone)
    each: ρ = Σ ŝ_i ‖ΔW_i - UUᵀΔW_iVVᵀ‖² / ‖ΔW_i‖² (the Tucker-2 loss), ŝ_i = ŵ_i g_i² / Σ ŵ_j g_j²,
          g_i = β‖ΔW_i‖ + (1-β) Σ ŵ_j‖ΔW_j‖: with β = 0 all updates count alike, with β = 1 by their energies
    calibrated: that of the mean, of a problem in the norm of statistics and of the calibrated updates

    Each is constant - Σ_j ‖UᵀT_jV‖² with T_j the matrices scaled by √(share_j) / ‖·‖. A zero matrix is left out: it
    is reconstructed by any subspace.

    Args:
        problem: the adapters' updates.
        kind: "mean", "each" or "calibrated".
        rescale: β in [0, 1]; of no concern to "mean".

    Returns:
        T (b, J, p, q) and the constant (b,).
    """
    if kind not in RECONSTRUCTIONS:
        raise LorafoldError(f"unknown reconstruction {kind!r}", remedy=f"Choose one of {', '.join(RECONSTRUCTIONS)}.")
    matrices, shares = RECONSTRUCTIONS[kind](problem, rescale)
    norms = torch.linalg.matrix_norm(matrices)  # (b, J)
    present = norms > 0
    factor = torch.where(present, shares.sqrt() / norms, 0.0)
    return matrices * factor[..., None, None], (shares * present).sum(-1)
