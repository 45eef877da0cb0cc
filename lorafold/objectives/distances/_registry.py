"""The registry of subspace distances, as functions of the overlap O_i = U_iᵀU.

b = modules, N = adapters, K = directions per adapter (zero-padded), r = rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorafold.common.registry import Registry
from lorafold.objectives.distances._spectral import (
    DistanceExpansion,
    Profile,
    Second,
    evaluate_spectral,
    expand_spectral,
)

Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Stiffness = Callable[[Tensor, int], Tensor]  # (min(r, k_i) (b, N), r) -> (b, N)


@dataclass(frozen=True)
class Distance:
    """A scaled distance δ(U, U_i): 0 when one subspace contains the other, 1 when they are orthogonal.

    `evaluate(overlap, dims)` takes O_i (b, N, K, r), whose rows from dims_i on are zero, and dims (b, N); it
    returns δ (b, N) and its slope dδ/dO_i (b, N, K, r).

    `stiffness(shared, rank)` is given for quadratic distances, δ = a (min(r, k_i) - ‖O_i‖²): the numbers a (b, N).
    With it the best U for a fixed V is an eigenspace.

    `shift(shared, rank)` are numbers s >= 0 (b, N) for which s ‖O‖² - δ(O) is convex in O, or a guess at them. On
    orthonormal U the term s ‖U‖² is constant, so the minorise-maximise step of the alternating solver is monotone
    (solvers/_sweep.py).

    `expand(overlap, dims)` is `evaluate` to second order, where the distance is a sum over the angles.
    """

    name: str
    evaluate: Evaluate
    stiffness: Stiffness | None = None
    shift: Stiffness = lambda shared, rank: torch.zeros_like(shared)
    expand: Callable[[Tensor, Tensor], DistanceExpansion] | None = None


DISTANCES: Registry[Distance] = Registry("distance", "lorafold.distances")


def distance(
    name: str, *, quadratic: bool = False, shift: Stiffness | None = None, second: Second | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the distance `name`.

    It is `profile(cos, real, rank)`, of the principal cosines, which returns δ and its derivative by each (`Profile`);
    or with `quadratic` it is `stiffness(shared, rank)`, the numbers a of δ = a (min(r, k_i) - ‖O_i‖²).

    Args:
        shift: see `Distance`; left out, a guess on the safe side: short steps. Of no concern if quadratic.
        second: the second derivative by every cosine, where δ is a sum over them (`Second`): without it there are no
            Newton steps. Of no concern if quadratic.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        entry = _quadratic(name, function) if quadratic else _spectral(name, function, shift, second)
        DISTANCES.add(name, entry, function)
        return function

    return register


def _spectral(name: str, profile: Profile, shift: Stiffness | None, second: Second | None) -> Distance:
    expand = partial(expand_spectral, profile, second) if second else None
    return Distance(name, partial(evaluate_spectral, profile), shift=shift or _cautious, expand=expand)


def _cautious(shared: Tensor, rank: int) -> Tensor:
    return torch.ones_like(shared)


def _quadratic(name: str, stiffness: Stiffness) -> Distance:
    """-δ is convex in O, so that its shift is 0."""

    def evaluate(overlap: Tensor, dims: Tensor) -> tuple[Tensor, Tensor]:
        shared = shared_dims(overlap, dims)
        a = stiffness(shared, overlap.shape[-1])
        return a * (shared - overlap.square().sum((-2, -1))), overlap * (-2 * a[..., None, None])

    return Distance(name, evaluate, stiffness)


def shared_dims(overlap: Tensor, dims: Tensor) -> Tensor:
    """min(r, k_i): how many principal angles U and U_i have.  (b, N)"""
    return dims.clamp_max(overlap.shape[-1]).to(overlap.dtype)
