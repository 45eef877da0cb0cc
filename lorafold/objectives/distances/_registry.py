"""The registry of subspace distances, as functions of the overlap O_i = U_iᵀU.

b = modules, N = adapters, K = directions per adapter (zero-padded), r = rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lorafold.objectives.distances._spectral import Bent, Profile, Second, evaluate_spectral, expand_spectral

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
    expand: Callable[[Tensor, Tensor], Bent] | None = None


DISTANCES: dict[str, Distance] = {}


def spectral_distance(name: str, *, shift: Stiffness, second: Second | None = None) -> Callable[[Profile], Profile]:
    """Register a function of the principal cosines (see `Profile`), with its second derivative if it is a sum."""

    def register(profile: Profile) -> Profile:
        expand = partial(expand_spectral, profile, second) if second else None
        DISTANCES[name] = Distance(name, partial(evaluate_spectral, profile), shift=shift, expand=expand)
        return profile

    return register


def quadratic_distance(name: str) -> Callable[[Stiffness], Stiffness]:
    """Register δ = a (min(r, k_i) - ‖O_i‖²) by its stiffness a; -δ is convex in O."""

    def register(stiffness: Stiffness) -> Stiffness:
        def evaluate(overlap: Tensor, dims: Tensor) -> tuple[Tensor, Tensor]:
            shared = shared_dims(overlap, dims)
            a = stiffness(shared, overlap.shape[-1])
            return a * (shared - overlap.square().sum((-2, -1))), overlap * (-2 * a[..., None, None])

        DISTANCES[name] = Distance(name, evaluate, stiffness)
        return stiffness

    return register


def shared_dims(overlap: Tensor, dims: Tensor) -> Tensor:
    """min(r, k_i): how many principal angles U and U_i have.  (b, N)"""
    return dims.clamp_max(overlap.shape[-1]).to(overlap.dtype)
