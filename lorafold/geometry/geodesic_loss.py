"""The squared geodesic distance as a loss: differentiable wherever the distance is.

Shapes: n = ambient dimension, k and l = dimensions of the subspaces; leading dimensions are a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lorafold.geometry.angles import principal_angles
from lorafold.geometry.maps import logmap


def squared_geodesic(X: Tensor, Y: Tensor) -> Tensor:
    """d² = Σ θ² with the gradients -2 Log_X(Y) and -2 Log_Y(X).

    The gradients are horizontal (Riemannian gradients already) and finite for equal, partly shared and
    orthogonal subspaces, where differentiating through the SVD gives NaN.

    Args:
        X: (..., n, k) with orthonormal columns.
        Y: (..., n, l) with orthonormal columns; leading dimensions broadcast.

    Returns: (...), in the dtype of X (the angles are computed in float64).

    Source: Absil, Mahony & Sepulchre, "Riemannian geometry of Grassmann manifolds", Acta Appl. Math. 80 (2004).
    """
    return _SquaredGeodesic.apply(X, Y)  # type: ignore[no-untyped-call]


class _SquaredGeodesic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, X: Tensor, Y: Tensor) -> Tensor:
        ctx.save_for_backward(X, Y)
        return principal_angles(X, Y).square().sum(-1).to(X.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        X, Y = ctx.saved_tensors
        factor = -2 * grads[0][..., None, None]
        return (
            factor * logmap(X, Y) if ctx.needs_input_grad[0] else None,
            factor * logmap(Y, X) if ctx.needs_input_grad[1] else None,
        )
