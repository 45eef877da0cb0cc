"""From a problem and the user's choice to the objective that the solvers see."""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.core_space.problem import Problem
from lorafold.geometry.singular import svd
from lorafold.objectives._objective import Objective
from lorafold.objectives._reconstruction import targets
from lorafold.objectives._terms import subspace_term
from lorafold.objectives.distances._registry import DISTANCES


def build(
    problem: Problem,
    rank: int,
    *,
    subspace_weight: float,
    reconstruction_weight: float,
    distance: str,
    reconstruction: str,
    rescale: float,
    directions: int | float | str,
) -> Objective:
    """F = subspace_weight Σ ŵ_i [δ(U,U_i) + δ(V,V_i)] / 2 + reconstruction_weight ρ(U, V).

    Args:
        problem: the adapters' updates.
        rank: r, the number of columns of U and V.
        subspace_weight, reconstruction_weight: >= 0.
        distance: a name in `DISTANCES`.
        reconstruction: "mean", "each" or "calibrated".
        rescale: how much the norms of the updates count in "each", in [0, 1]; see `targets`.
        directions: which leading singular directions of ΔW_i make its point: "all" (numerical rank), a count
            >= 1, or an energy fraction in (0, 1).
    """
    check_directions(directions)
    matrices, constant = targets(problem, reconstruction, rescale)
    left, right, dims = _points(problem.subspaces, directions)
    shares = problem.subspaces.shares * (subspace_weight / 2)
    return Objective(
        rank=rank,
        left=subspace_term(DISTANCES[distance], rank, left, dims, shares),
        right=subspace_term(DISTANCES[distance], rank, right, dims, shares),
        targets=matrices * reconstruction_weight**0.5,
        constant=constant * reconstruction_weight,
    )


def check_directions(directions: int | float | str) -> None:
    """Raise LorafoldError unless it is "all", a count >= 1 or an energy fraction in (0, 1)."""
    count = isinstance(directions, int) and directions >= 1
    fraction = isinstance(directions, float) and 0 < directions < 1
    if not (directions == "all" or count or fraction):
        raise LorafoldError(
            f"directions={directions!r}, expected 'all', a count >= 1 or an energy fraction in (0, 1)",
            remedy="For example objective.directions=all.",
        )


def _points(problem: Problem, directions: int | float | str) -> tuple[Tensor, Tensor, Tensor]:
    """The frames of the leading singular directions, and how many there are."""
    if directions == "all":
        return problem.left, problem.right, problem.dims
    Q, sigma, Rt = svd(problem.core)  # singular values past dims are zero
    dims = torch.minimum(_count(sigma.square(), directions), problem.dims)
    keep = (torch.arange(sigma.shape[-1], device=dims.device) < dims[..., None])[..., None, :]
    return problem.left @ (Q * keep), problem.right @ (Rt.mT * keep), dims


def _count(energy: Tensor, directions: int | float | str) -> Tensor:
    """How many of the sorted energies (b, N, K) to keep.  (b, N)"""
    if isinstance(directions, int):
        return torch.full(energy.shape[:-1], directions, device=energy.device)
    return (energy.cumsum(-1) < float(directions) * energy.sum(-1, keepdim=True)).sum(-1) + 1
