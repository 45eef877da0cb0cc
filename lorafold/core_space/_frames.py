"""Each adapter's own orthonormal frames in core space.

b = modules, R = core dimension, K = the adapter's slot, k = its numerical rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.common.batched import scatter_rows
from lorafold.core_space._basis import Basis, orthonormal_basis
from lorafold.core_space._layer import ROUNDING
from lorafold.geometry.singular import svd

# Singular values of ΔW_i below this, relative to the largest, are rounding noise of float32 factors.
RANK_TOLERANCE = 3e-7


@dataclass(frozen=True)
class Frames:
    """ΔW_i = `left` `core` `right`ᵀ; columns of dropped directions are zero."""

    left: Tensor  # (b, R, K)
    right: Tensor  # (b, R, K)
    core: Tensor  # (b, K, K)
    dims: Tensor  # (b,)  k


def adapter_frames(up: Tensor, down: Tensor, scale: Tensor) -> Frames:
    """The frames of ΔW_i = scale X Yᵀ, X = up (b, R, K) and Y = down (b, R, K) in core coordinates, scale (b,).

    Where both factors are sound, their Cholesky bases serve as they are, and the inverse of the small matrix, which
    the same factors give, certifies that no singular value lies below RANK_TOLERANCE: no SVD is needed. Elsewhere
    the singular vectors above the tolerance are taken.
    """
    bases = orthonormal_basis(up.mT @ up), orthonormal_basis(down.mT @ down)
    left, right = up @ bases[0].T, down @ bases[1].T
    core = scale[:, None, None] * bases[0].coords @ bases[1].coords.mT
    frames = Frames(left, right, core, bases[0].dims)
    weak = (~_certainly_full(*bases, scale)).nonzero().squeeze(-1)
    return scatter_rows(frames, weak, _revealed(up[weak], down[weak], scale[weak])) if len(weak) else frames


def _certainly_full(up: Basis, down: Basis, scale: Tensor) -> Tensor:
    """σ_max ≤ ‖C‖ and σ_min ≥ 1 / ‖C⁻¹‖ with C = c_B c_Aᵀ and C⁻¹ = T_AᵀT_B.  (b,)

    T_AᵀT_B is an inverse if both factors have the same zero columns, that is if the trace of their product is k.
    """
    core, inverse = up.coords @ down.coords.mT, down.T.mT @ up.T
    is_inverse = (core * inverse.mT).sum((-2, -1)) > up.dims - 0.5
    bounded = torch.linalg.matrix_norm(core) * torch.linalg.matrix_norm(inverse) < 1 / RANK_TOLERANCE
    return up.sound & down.sound & (up.dims == down.dims) & (scale != 0) & is_inverse & bounded


def _revealed(up: Tensor, down: Tensor, scale: Tensor) -> Frames:
    Q, sigma, Rt = svd(scale[:, None, None] * up @ down.mT)
    # what rounding leaves of a product that is zero is no direction either
    rounding = ROUNDING * scale.abs() * torch.linalg.matrix_norm(up) * torch.linalg.matrix_norm(down)
    kept = (sigma > torch.maximum(RANK_TOLERANCE * sigma[:, 0], rounding)[:, None])[:, : up.shape[-1]]
    slot = slice(up.shape[-1])
    return Frames(
        Q[:, :, slot] * kept[:, None, :],
        Rt.mT[:, :, slot] * kept[:, None, :],
        torch.diag_embed(sigma[:, slot] * kept),
        kept.sum(-1),
    )
