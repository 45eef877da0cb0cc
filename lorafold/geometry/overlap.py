"""The overlap φ of two subspaces: the share of the smaller one that lies in the larger one.

Shapes: n = ambient dimension, k and l = dimensions of the two subspaces; leading dimensions are a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def phi(X: Tensor, Y: Tensor) -> Tensor:
    """φ = ‖Xᵀ Y‖_F² / min(k, l), the mean squared cosine of the principal angles.

    1 if one subspace contains the other, 0 if they are orthogonal; max(k, l) / n by chance (`expected_phi`).

    Args:
        X: (..., n, k) with orthonormal columns, k >= 1.
        Y: (..., n, l) with orthonormal columns, l >= 1.

    Returns: (...), float64.

    Source: Hu et al., "LoRA" (2021), section 7.2, equation (4).
    """
    return _squared_overlaps(X, Y).sum(dim=(-2, -1)) / min(X.shape[-1], Y.shape[-1])


def phi_grid(X: Tensor, Y: Tensor) -> Tensor:
    """φ(i, j) of the leading i columns of X and the leading j of Y, for all i <= k and j <= l.

    Args:
        X: (..., n, k) with orthonormal columns, in order of importance.
        Y: (..., n, l) likewise.

    Returns: (..., k, l), float64; entry [i - 1, j - 1] is φ(i, j).

    Source: Hu et al., "LoRA" (2021), figure 3.
    """
    sums = _squared_overlaps(X, Y).cumsum(-2).cumsum(-1)
    rows = torch.arange(1, sums.shape[-2] + 1, device=sums.device)
    columns = torch.arange(1, sums.shape[-1] + 1, device=sums.device)
    return sums / torch.minimum(rows[:, None], columns)


def _squared_overlaps(X: Tensor, Y: Tensor) -> Tensor:
    """Squared entries of Xᵀ Y; (..., k, l), float64."""
    return (X.double().mT @ Y.double()).square()
