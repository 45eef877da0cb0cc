"""Means of subspaces: the chordal mean in closed form, the Karcher mean by iteration.

Shapes: n = ambient dimension, k_i = dimension of subspace i of N, r = dimension of the mean, K = Σ k_i; leading
dimensions are a batch.

The chordal mean is the default: a global optimum in closed form, for subspaces of any dimensions. The Karcher
mean is known to be unique for points in a ball of geodesic radius π/4 (Afsari 2011). LoRA subspaces lie far
outside: its result depends on the start, and comes with the gradient norm reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.geometry.maps import expmap, logmap

Weights = Sequence[float] | Tensor | None


@dataclass(frozen=True)
class ChordalMean:
    """The chordal mean, and how well it is determined."""

    point: Tensor  # (..., n, r), orthonormal columns in order of their eigenvalues
    eigenvalues: Tensor  # (..., min(n, K)), descending, of Σ w_i U_i U_iᵀ with Σ w = 1: in [0, 1]; float64
    gap: Tensor  # (...), eigenvalue r minus eigenvalue r + 1 (0 beyond the last); the mean is unique if it is > 0


@dataclass(frozen=True)
class KarcherMean:
    """A critical point of the Karcher objective, and how close the iteration came to it."""

    point: Tensor  # (..., n, k), orthonormal columns
    iterations: Tensor  # (...), int64: steps taken
    gradient_norm: Tensor  # (...), ‖Σ w_i Log_point(X_i)‖_F in radians with Σ w = 1; float64
    converged: Tensor  # (...), bool: gradient_norm <= tolerance


def chordal_mean(frames: Sequence[Tensor], rank: int, weights: Weights = None) -> ChordalMean:
    """The r-dimensional subspace of least Σ w_i ‖P - P_i‖_F²: top eigenvectors of S = Σ w_i U_i U_iᵀ.

    They are the left singular vectors of [√w_1 U_1 | ... | √w_N U_N], so no n x n matrix is formed for
    n > K. As a nested sequence for r = 1, 2, ... they are the flag mean.

    Args:
        frames: N tensors (..., n, k_i) with orthonormal columns.
        rank: r, at most min(n, K).
        weights: N numbers >= 0, or a tensor (..., N); normalised to sum 1. None: equal.

    Returns: `ChordalMean`; its point has the dtype of the frames, all is computed in float64.

    Raises:
        LorafoldError: rank out of range, or weights that are no weights.

    Source: Draper, Kirby, Marks, Marrinan & Peterson, "A flag representation for finite collections of subspaces
    of mixed dimensions", Linear Algebra Appl. 451 (2014).
    """
    shares = _shares(weights, frames)
    stacked = torch.cat([share * frame.double() for share, frame in zip(shares.sqrt(), frames, strict=True)], dim=-1)
    if not 1 <= rank <= min(stacked.shape[-2:]):
        raise LorafoldError(
            f"the rank of a mean is {rank}, expected 1 to {min(stacked.shape[-2:])}",
            remedy="A mean has at most the dimension of its space, and of its subspaces together.",
        )
    vectors, eigenvalues = _left_eigenvectors(stacked)
    following = eigenvalues[..., rank] if rank < eigenvalues.shape[-1] else 0
    return ChordalMean(vectors[..., :rank].to(frames[0].dtype), eigenvalues, eigenvalues[..., rank - 1] - following)


def karcher_mean(
    frames: Sequence[Tensor], weights: Weights = None, *, tolerance: float = 1e-10, max_iterations: int = 500
) -> KarcherMean:
    """A local minimiser of Σ w_i d(X, X_i)², d geodesic: X <- Exp_X(Σ w_i Log_X(X_i)) from the chordal mean.

    The unit step is the natural one, as the Hessian of d² / 2 is at most the identity. Elements of the batch stop
    one by one. Spread points (angles near π/2) can have several local minimisers, of which this is one.

    Args:
        frames: N tensors (..., n, k) with orthonormal columns, all of one dimension.
        weights: N numbers >= 0, or a tensor (..., N); normalised to sum 1. None: equal.
        tolerance: the gradient norm in radians below which an element has converged.
        max_iterations: of each element.

    Returns: `KarcherMean`; its point has the dtype of the frames, all is computed in float64.

    Raises:
        LorafoldError: frames of different dimensions, or weights that are no weights.

    Source: Afsari, Tron & Vidal, "On the convergence of gradient descent for finding the Riemannian center of mass",
    SIAM J. Control Optim. 51 (2013), arXiv:1201.0925.
    """
    if len({frame.shape[-1] for frame in frames}) > 1:
        dimensions = ", ".join(str(frame.shape[-1]) for frame in frames)
        raise LorafoldError(
            f"a Karcher mean needs subspaces of one dimension, not {dimensions}",
            remedy="Use the chordal mean, or truncate to a common dimension.",
        )
    points = [frame.double() for frame in frames]
    start = chordal_mean(points, points[0].shape[-1], weights).point
    result = _descend(start, points, _shares(weights, points), tolerance, max_iterations)
    return replace(result, point=result.point.to(frames[0].dtype))


def _descend(
    point: Tensor, frames: Sequence[Tensor], shares: Tensor, tolerance: float, max_iterations: int
) -> KarcherMean:
    iterations = torch.zeros(point.shape[:-2], dtype=torch.int64, device=point.device)
    while True:
        step = sum(share * logmap(point, frame) for share, frame in zip(shares, frames, strict=True))
        gradient_norm = torch.linalg.matrix_norm(step)
        converged = gradient_norm <= tolerance
        moving = ~converged & (iterations < max_iterations)
        if not moving.any():
            return KarcherMean(point, iterations, gradient_norm, converged)
        point = torch.where(moving[..., None, None], expmap(point, step), point)
        iterations = iterations + moving


def _left_eigenvectors(stacked: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors (..., n, min(n, K)) and eigenvalues, descending, of C Cᵀ for C = stacked (..., n, K)."""
    if stacked.shape[-2] <= stacked.shape[-1]:
        eigenvalues, vectors = torch.linalg.eigh(stacked @ stacked.mT)
        return vectors.flip(-1), eigenvalues.flip(-1).clamp_min(0)
    vectors, singular_values, _ = torch.linalg.svd(stacked, full_matrices=False)
    return vectors, singular_values.square()


def _shares(weights: Weights, frames: Sequence[Tensor]) -> Tensor:
    """Weights normalised to sum 1, one for each frame: (N, ..., 1, 1), float64."""
    given = [1.0] * len(frames) if weights is None else weights
    shares = torch.as_tensor(given, dtype=torch.float64, device=frames[0].device)
    total = shares.sum(-1, keepdim=True)
    if shares.shape[-1] != len(frames) or bool((shares < 0).any()) or not bool((total > 0).all()):
        raise LorafoldError(
            f"the weights of a mean of {len(frames)} subspaces are {shares.tolist()}",
            remedy="Give one number >= 0 for each subspace, not all of them 0.",
        )
    return (shares / total).movedim(-1, 0)[..., None, None]
