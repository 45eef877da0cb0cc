"""Whole orthogonal bases X = [U U⊥] and Y = [V V⊥], and turns of them.

b = modules, p / q = left / right dimension, d = either, r = rank, c = d - r.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bases:
    """The first r columns are U and V."""

    left: Tensor  # X (b, p, p)
    right: Tensor  # Y (b, q, q)


def eigenbasis(form: Tensor) -> Tensor:
    """Eigenvectors of symmetric (b, d, d), those of the largest eigenvalues first.  (b, d, d)"""
    return torch.linalg.eigh(form).eigenvectors.flip(-1)


def completed(frame: Tensor) -> Tensor:
    """An orthogonal matrix whose first r columns are the orthonormal frame (b, d, r).  (b, d, d)"""
    rest = torch.linalg.qr(frame, mode="complete").Q[..., frame.shape[-1] :]
    return torch.cat([frame, rest], dim=-1)


def turned(basis: Tensor, step: Tensor) -> Tensor:
    """[U U⊥] turned so that U spans U + U⊥K, K = step (b, c, r): a retraction of the Grassmann manifold.

    [U U⊥] [[I, -Kᵀ], [K, I]] has orthogonal column blocks with Gram matrices I + KᵀK and I + KKᵀ, so their Cholesky
    factors make it orthogonal: no QR.
    """
    rank = step.shape[-1]
    U, rest = basis[..., :rank], basis[..., rank:]
    return torch.cat([_normalised(U + rest @ step, step), _normalised(rest - U @ step.mT, step.mT)], dim=-1)


def _normalised(columns: Tensor, step: Tensor) -> Tensor:
    """The columns, whose Gram matrix is I + stepᵀstep, made orthonormal."""
    gram = step.mT @ step
    gram.diagonal(dim1=-2, dim2=-1).add_(1)
    L = torch.linalg.cholesky_ex(gram).L
    return torch.linalg.solve_triangular(L, columns.mT, upper=False).mT
