"""Among all updates with the subspaces of one adapter, the one nearest to the update of another.

b = modules, R = core dimension, r = common width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_space.balanced import Balanced
from lorafold.geometry.singular import svd

_LEAST = 1e-4  # singular values relative to the largest: what keeps a direction in float32 factors
_NOTHING = 1e-12  # of ‖ΔW_1‖: what rounding leaves of U_2ᵀΔW_1V_2 = 0


def nearest_in_class(first: Balanced, second: Balanced) -> tuple[Tensor, Tensor, Tensor]:
    """P and W (b, r, r) that turn ΔW_2 = X_2Y_2ᵀ into X_2 P W Y_2ᵀ = U_2 C V_2ᵀ with C = U_2ᵀΔW_1V_2, balanced.

    C is the projection of ΔW_1, the minimiser of ‖U_2 C V_2ᵀ - ΔW_1‖. If it is singular, as it is where ΔW_2 has the
    higher rank, the class, which asks for an invertible C, contains no nearest update: singular values are raised to
    10⁻⁴ of the largest then, so that both subspaces stay whole. Where C = 0, ΔW_2 stays as it is.

    Returns:
        P, W, and how many singular values were raised (b,).
    """
    U, V = second.frames()
    C = (U.mT @ first.factors.up) @ (first.factors.down.mT @ V)
    size = torch.linalg.matrix_norm(C)
    lost = size <= _NOTHING * first.sigma.square().sum(-1).sqrt()
    C = torch.where(lost[:, None, None], torch.diag_embed(second.sigma), C)
    Q, sigma, R = _svd_inside(C, second.kept)
    raised = torch.maximum(sigma, _LEAST * sigma[:, :1]) * second.kept
    root = raised.sqrt()
    inverse = torch.where(second.sigma > 0, second.sigma, 1.0).rsqrt() * second.kept
    P, W = inverse[:, :, None] * Q * root[:, None, :], root[:, :, None] * R.mT * inverse[:, None, :]
    return P, W, (raised > sigma).sum(-1)


def _svd_inside(C: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """C = Q diag(σ) Rᵀ with σ descending, the null space of the kept block apart from the coordinates not kept.

    Those get a singular value above all others, so that they come first, and are moved to the end.
    """
    above = 2 * torch.linalg.matrix_norm(C) + 1
    Q, sigma, Rt = svd(C + torch.diag_embed((1 - kept) * above[:, None]))
    width = kept.shape[-1]
    order = (torch.arange(width, device=C.device) + width - kept.sum(-1, keepdim=True).to(torch.int64)) % width
    columns = order[:, None, :].expand_as(Q)
    return Q.gather(-1, columns), sigma.gather(-1, order) * kept, Rt.mT.gather(-1, columns)
