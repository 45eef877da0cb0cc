"""Anderson acceleration of a fixed-point iteration x <- g(x), batched.

b = modules, h = history, D = numbers per iterate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Relative Tikhonov term of the least-squares problem: differences that agree to 1e-5 add nothing but noise.
_RIDGE = 1e-10


@dataclass(frozen=True)
class History:
    """The last differences of iterates and of residuals f = g(x) - x; forgotten ones are zero."""

    iterate: Tensor  # x (b, D)
    residual: Tensor  # f (b, D)
    iterates: Tensor  # Δx (b, h, D)
    residuals: Tensor  # Δf (b, h, D)

    @classmethod
    def empty(cls, iterate: Tensor, memory: int) -> History:
        """No differences yet."""
        zeros = iterate.new_zeros(iterate.shape[0], memory, iterate.shape[1])
        return cls(iterate, torch.zeros_like(iterate), zeros, zeros)


def remember(history: History, iterate: Tensor, residual: Tensor, keep: Tensor, step: int) -> History:
    """Add the newest differences at slot `step` mod h; rows where `keep` (b,) is False start anew."""
    slot = step % history.iterates.shape[1]
    iterates, residuals = history.iterates.clone(), history.residuals.clone()
    iterates[:, slot], residuals[:, slot] = iterate - history.iterate, residual - history.residual
    mask = keep[:, None, None]
    return History(iterate, residual, iterates * mask, residuals * mask)


def extrapolate(history: History) -> Tensor:
    """x + f - (ΔX + ΔF) γ with γ = argmin ‖f - ΔF γ‖ (Walker & Ni 2011, type II).  (b, D)"""
    gram = history.residuals @ history.residuals.mT
    size = gram.diagonal(dim1=-2, dim2=-1).amax(-1, keepdim=True)
    ridge = torch.diag_embed((_RIDGE * size).clamp_min(torch.finfo(gram.dtype).tiny).expand(gram.shape[:-1]))
    coefficients = torch.linalg.solve(gram + ridge, history.residuals @ history.residual[..., None])
    combined = (history.iterates + history.residuals).mT @ coefficients
    return history.iterate + history.residual - combined.squeeze(-1)
