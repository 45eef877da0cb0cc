"""One monotone sweep: the best U for the given V, then the best V for that U.

b = modules, p / q = left / right dimension, r = rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.geometry import polar
from lorafold.objectives import Objective


def sweep(objective: Objective, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """(U, V) with an objective no larger, in the gauge nearest to the old one."""
    left = _improve(objective, left, right)
    return left, _improve(objective.transposed, right, left)


def closed_form_start(objective: Objective) -> tuple[Tensor, Tensor]:
    """Top eigenvectors of the chordal form plus Σ_j T_jT_jᵀ: the solution if either term stands alone.

    For the chordal distance with reconstruction_weight = 0 this is the flag (extrinsic) mean, and with
    subspace_weight = 0 and one target the truncated SVD (Eckart-Young). It is the HOSVD start of a Tucker-2 fit
    for several targets.
    """
    return _start_left(objective), _start_left(objective.transposed)


def _improve(objective: Objective, left: Tensor, right: Tensor) -> Tensor:
    """Quadratic distances: the top eigenspace of K(V), the global minimiser for fixed V.

    Others: s‖U‖² - F is convex in U, so its linearisation at U is a minorant, which polar(2sU - ∇F) maximises over
    orthonormal frames; F cannot rise (minorise-maximise; Journée et al. 2010, generalised power method).
    """
    form = objective.form_left(right)
    if form is None:
        return polar(2 * objective.shift()[:, None, None] * left - objective.gradient_left(left, right))
    top = _top_eigenvectors(form, objective.rank)
    return top @ polar(top.mT @ left)


def _start_left(objective: Objective) -> Tensor:
    weighted = objective.left * (objective.shares / objective.rank).sqrt()[..., None, None]
    form = (weighted @ weighted.mT).sum(1) + (objective.targets @ objective.targets.mT).sum(1)
    return _top_eigenvectors(form, objective.rank)


def _top_eigenvectors(form: Tensor, rank: int) -> Tensor:
    return torch.linalg.eigh(form).eigenvectors[..., -rank:]
