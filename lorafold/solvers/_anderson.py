"""Anderson acceleration of a fixed-point iteration x <- g(x), batched.

b = modules, h = history, D = numbers per iterate.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Anderson:
    """x + f - (ΔX + ΔF) γ with f = g(x) - x and γ = argmin ‖f - ΔF γ‖ (Walker & Ni 2011, type II).

    Differences are kept in a ring; a forgotten one is zero and takes no part.
    """

    def __init__(self, like: Tensor, memory: int) -> None:
        """`like` is any iterate (b, D)."""
        self._moves = like.new_zeros(memory, *like.shape)  # ΔX + ΔF (h, b, D)
        self._residuals = torch.zeros_like(self._moves)  # ΔF
        self._gram = like.new_zeros(len(like), memory, memory)  # ΔFᵀΔF
        self._last: tuple[Tensor, Tensor] | None = None
        self._slot = 0

    def extrapolate(self, iterate: Tensor, residual: Tensor) -> Tensor:
        """The next iterate from x and f.  (b, D)"""
        if self._last is not None:
            self._remember(iterate - self._last[0], residual - self._last[1])
        self._last = iterate, residual
        products = torch.einsum("hbd,bd->bh", self._residuals, residual)
        size = self._gram.diagonal(dim1=-2, dim2=-1).amax(-1, keepdim=True)
        # differences that agree to sqrt(eps) add nothing but noise
        eps = torch.finfo(residual.dtype).eps
        ridge = torch.diag_embed((eps * size).clamp_min(torch.finfo(residual.dtype).tiny).expand(products.shape))
        weights = torch.linalg.solve(self._gram + ridge, products[..., None]).squeeze(-1)
        return iterate + residual - torch.einsum("bh,hbd->bd", weights, self._moves)

    def _remember(self, iterate: Tensor, residual: Tensor) -> None:
        slot = self._slot = (self._slot + 1) % len(self._moves)
        self._moves[slot], self._residuals[slot] = iterate + residual, residual
        row = torch.einsum("hbd,bd->bh", self._residuals, residual)
        self._gram[:, slot], self._gram[:, :, slot] = row, row

    def forget(self, rows: Tensor) -> None:
        """Start anew in the rows of a mask, which did not take the extrapolated iterate."""
        keep = (~rows).to(self._gram.dtype)
        self._moves *= keep[:, None]
        self._residuals *= keep[:, None]
        self._gram *= keep[:, None, None]

    def only(self, rows: Tensor) -> None:
        """Go on with some rows."""
        self._moves, self._residuals, self._gram = self._moves[:, rows], self._residuals[:, rows], self._gram[rows]
        if self._last is not None:
            self._last = self._last[0][rows], self._last[1][rows]
