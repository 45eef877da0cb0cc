"""Distances between subspaces, as functions of their principal angles.

Shapes: n = ambient dimension, k and l = dimensions of the two subspaces, a = number of angles; leading
dimensions are a batch. Every function maps angles (..., a) in [0, π/2] to values (...).

Names differ between authors. Here `chordal` is the norm of the sines (elsewhere also called the projection F-norm
or projection distance) and `asimov` and `spectral` are functions of the largest angle alone. The formulas are
collected in Ye & Lim, "Schubert varieties and distances between subspaces of different dimensions", SIAM J.
Matrix Anal. Appl. 37 (2016), and Edelman, Arias & Smith, SIAM J. Matrix Anal. Appl. 20 (1998),
section 4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.geometry.angles import principal_angles

Completion = Literal["containment", "full"]

DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {}

_RIGHT_ANGLE = torch.pi / 2


def distance(name: str, X: Tensor, Y: Tensor, *, completion: Completion = "containment") -> Tensor:
    """The distance `name` between span X and span Y.

    Args:
        name: a key of `DISTANCES`.
        X: (..., n, k) with orthonormal columns.
        Y: (..., n, l) with orthonormal columns.
        completion: for k != l. "containment" takes the min(k, l) angles that exist: 0 if one subspace contains the
            other (Ye & Lim's distance to a Schubert variety; no metric). "full" sets the |k - l| missing
            angles to π/2: a metric on subspaces of all dimensions (Ye & Lim).

    Returns: (...), float64.

    Raises:
        LorafoldError: unknown name or completion.
    """
    function = DISTANCES.get(name)
    if function is None:
        raise LorafoldError(f"no distance is called {name!r}", remedy=f"Choose one of {', '.join(sorted(DISTANCES))}.")
    missing = abs(X.shape[-1] - Y.shape[-1])
    return function(complete_angles(principal_angles(X, Y), missing, completion))


def complete_angles(theta: Tensor, missing: int, completion: Completion) -> Tensor:
    """The angles that a distance sees: θ (..., a) itself, or (..., a + missing) with π/2 for the missing ones."""
    if completion not in get_args(Completion):
        raise LorafoldError(
            f"no completion is called {completion!r}", remedy=f"Choose one of {', '.join(get_args(Completion))}."
        )
    if completion == "containment":
        return theta
    return torch.cat([theta, theta.new_full((*theta.shape[:-1], missing), _RIGHT_ANGLE)], dim=-1)


def _distance(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Register a distance under the name of its function."""
    DISTANCES[function.__name__] = function
    return function


@_distance
def geodesic(theta: Tensor) -> Tensor:
    """Arc length √(Σ θ²): the length of the shortest path on the manifold; at most √a π/2."""
    return torch.linalg.vector_norm(theta, dim=-1)


@_distance
def chordal(theta: Tensor) -> Tensor:
    """√(Σ sin² θ) = ‖X Xᵀ - Y Yᵀ‖_F / √2 for k = l; at most √a.

    Source: Conway, Hardin & Sloane, "Packing lines, planes, etc.", Experimental Math. 5 (1996).
    """
    return torch.linalg.vector_norm(theta.sin(), dim=-1)


@_distance
def procrustes(theta: Tensor) -> Tensor:
    """2 √(Σ sin²(θ / 2)) = min over orthogonal O of ‖X - Y O‖_F for k = l; at most √(2 a)."""
    return 2 * torch.linalg.vector_norm((theta / 2).sin(), dim=-1)


@_distance
def asimov(theta: Tensor) -> Tensor:
    """The largest angle; at most π/2. Source: Asimov, "The grand tour", SIAM J. Sci. Stat. Comput. 6 (1985)."""
    return theta.amax(dim=-1)


@_distance
def spectral(theta: Tensor) -> Tensor:
    """2 sin(max θ / 2) = min over orthogonal O of ‖X - Y O‖_2 for k = l; at most √2."""
    return 2 * (theta.amax(dim=-1) / 2).sin()


@_distance
def binet_cauchy(theta: Tensor) -> Tensor:
    """√(1 - Π cos² θ) = √(1 - det(Xᵀ Y)²) for k = l; at most 1.

    Source: Wolf & Shashua, "Learning over sets using kernel principal angles", JMLR 4 (2003).
    """
    return (-torch.expm1(2 * _log_product_of_cosines(theta))).sqrt()


@_distance
def fubini_study(theta: Tensor) -> Tensor:
    """arccos(Π cos θ), the angle between the Plücker vectors of the subspaces; at most π/2.

    Computed as atan2(√(1 - p²), p), as arccos(p) loses half of the digits near p = 1.
    """
    return torch.atan2(binet_cauchy(theta), _log_product_of_cosines(theta).exp())


@_distance
def martin(theta: Tensor) -> Tensor:
    """√(-2 log Π cos θ); infinite as soon as one angle is π/2.

    Source: Martin, "A metric for ARMA processes", IEEE Trans. Signal Process. 48 (2000).
    """
    return (-2 * _log_product_of_cosines(theta)).sqrt()


def _log_product_of_cosines(theta: Tensor) -> Tensor:
    """Σ log cos θ <= 0; (..., a) -> (...). A product would underflow, and round to 1 for small angles."""
    log_cos = torch.where(theta < torch.pi / 4, 0.5 * torch.log1p(-theta.sin().square()), theta.cos().log())
    return log_cos.masked_fill(theta >= _RIGHT_ANGLE, -torch.inf).sum(-1)  # cos(π/2) rounds to 6e-17, not to 0
