"""Moving on the Grassmann manifold: Exp, Log, parallel transport, points of geodesics.

Shapes: n = ambient dimension, k = dimension of the subspaces; leading dimensions are a batch. A point is the span of
X (..., n, k) with orthonormal columns; a tangent vector at it is its horizontal lift U (..., n, k), Xᵀ U = 0.
Replacing X by X Q (Q orthogonal) replaces U by U Q, and all results accordingly.

Everything along a geodesic is an even function of the speeds S = (Uᵀ U)^(1/2), so that one k x k
eigendecomposition of Uᵀ U suffices, with no division by a speed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.geometry.frames import polar


def expmap(X: Tensor, U: Tensor) -> Tensor:
    """Exp_X(U) = X cos(S) + U sin(S) S⁻¹: the end of the geodesic that leaves X with velocity U.

    Re-orthonormalised by its polar factor, so that rounding errors do not pile up over many steps.

    Args:
        X: (..., n, k) with orthonormal columns.
        U: (..., n, k), tangent at X, of any length.

    Returns: (..., n, k), the lift of the end point along the geodesic.

    Source: Edelman, Arias & Smith, SIAM J. Matrix Anal. Appl. 20 (1998), equation (2.65).
    """
    return _end_point(X, U, *_speeds(U))


def transport(X: Tensor, U: Tensor, V: Tensor) -> Tensor:
    """Parallel transport of V along the geodesic that leaves X with velocity U, to its end `expmap(X, U)`.

    V + [U (cos S - I) S⁻² - X sin(S) S⁻¹] Uᵀ V; an isometry.

    Args:
        X: (..., n, k) with orthonormal columns.
        U, V: (..., n, k), tangent at X.

    Returns: (..., n, k), tangent at `expmap(X, U)` and lifted to that frame.

    Source: Edelman, Arias & Smith (1998), equation (2.68).
    """
    return _transported(X, U, V, *_speeds(U))


def expmap_transport(X: Tensor, U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """`expmap(X, U)` and `transport(X, U, V)` for the price of one eigendecomposition."""
    speeds, directions = _speeds(U)
    return _end_point(X, U, speeds, directions), _transported(X, U, V, speeds, directions)


def logmap(X: Tensor, Y: Tensor) -> Tensor:
    """Log_X(Y): the shortest tangent vector U at X with span Exp_X(U) = span Y; ‖U‖_F is the geodesic distance.

    With Xᵀ Y = Q diag(cos θ) Rᵀ it is (I - X Xᵀ) Y R diag(θ / sin θ) Qᵀ. Nothing is inverted, so it
    stays finite on the cut locus (an angle of π/2), where it returns one of several shortest vectors. The sines
    are the column norms of (I - X Xᵀ) Y R.

    Args:
        X: (..., n, k) with orthonormal columns.
        Y: (..., n, l) with orthonormal columns. For l != k the result leads to the nearest k-dimensional subspace
            that is contained in span Y (l > k) or contains it (l < k).

    Returns: (..., n, k), tangent at X; singular values at most π/2.

    Source: Bendokat, Zimmermann & Absil, "A Grassmann manifold handbook", Adv. Comput. Math. 50 (2024), section 5.2.
    """
    Q, cosines, Rt = torch.linalg.svd(X.mT @ Y, full_matrices=False)
    aligned = Y @ Rt.mT  # (..., n, min(k, l))
    residual = aligned - X @ (X.mT @ aligned)
    sines = torch.linalg.vector_norm(residual, dim=-2)
    ratio = torch.where(sines > 0, torch.atan2(sines, cosines) / sines, 1)  # θ / sin θ
    return (residual * ratio.unsqueeze(-2)) @ Q.mT


def geodesic_point(X: Tensor, Y: Tensor, t: float | Tensor) -> Tensor:
    """The point at fraction t of a shortest geodesic from span X (t = 0) to span Y (t = 1); t = 1/2 is the midpoint.

    Args:
        X, Y: (..., n, k) with orthonormal columns.
        t: a number, or one for each element of the batch (...); outside [0, 1] the geodesic goes on.

    Returns: (..., n, k) with orthonormal columns.
    """
    fraction = torch.as_tensor(t, dtype=X.dtype, device=X.device)[..., None, None]
    return expmap(X, fraction * logmap(X, Y))


def _speeds(U: Tensor) -> tuple[Tensor, Tensor]:
    """Speeds s (..., k) and directions V (..., k, k) of Uᵀ U = V diag(s²) Vᵀ, float64."""
    U = U.double()
    squared, directions = torch.linalg.eigh(U.mT @ U)
    return squared.clamp_min(0).sqrt(), directions


def _end_point(X: Tensor, U: Tensor, speeds: Tensor, directions: Tensor) -> Tensor:
    cos = _function_of_speeds(speeds.cos(), directions).to(X.dtype)
    sinc = _function_of_speeds(_sinc(speeds), directions).to(X.dtype)
    return polar(X @ cos + U @ sinc)


def _transported(X: Tensor, U: Tensor, V: Tensor, speeds: Tensor, directions: Tensor) -> Tensor:
    sinc = _function_of_speeds(_sinc(speeds), directions).to(X.dtype)
    # (cos s - 1) / s² = -sinc(s / 2)² / 2 without cancellation
    bend = _function_of_speeds(-0.5 * _sinc(speeds / 2).square(), directions).to(X.dtype)
    return V + (U @ bend - X @ sinc) @ (U.mT @ V)


def _function_of_speeds(values: Tensor, directions: Tensor) -> Tensor:
    """V diag(values) Vᵀ."""
    return (directions * values.unsqueeze(-2)) @ directions.mT


def _sinc(s: Tensor) -> Tensor:
    """sin(s) / s; torch.sinc is that of pi s."""
    return torch.sinc(s / torch.pi)
