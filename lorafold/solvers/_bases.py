"""Whole orthogonal bases X = [U U⊥] and Y = [V V⊥], and turns of them.

b = modules, p / q = left / right dimension, d = either, r = rank, c = d - r.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.geometry.eigen import eigh


@dataclass(frozen=True)
class Bases:
    """The first r columns are U and V."""

    left: Tensor  # X (b, p, p)
    right: Tensor  # Y (b, q, q)


def eigenbasis(form: Tensor) -> Tensor:
    """Eigenvectors of symmetric (b, d, d), those of the largest eigenvalues first.  (b, d, d)"""
    return eigh(form).vectors.flip(-1)


def completed(frame: Tensor) -> Tensor:
    """An orthogonal matrix whose first r columns are the orthonormal frame (b, d, r).  (b, d, d)"""
    rest = torch.linalg.qr(frame, mode="complete").Q[..., frame.shape[-1] :]
    return torch.cat([frame, rest], dim=-1)


def turned(basis: Tensor, step: Tensor) -> Tensor:
    """[U U⊥] turned so that U spans U + U⊥K, K = step (b, c, r): a retraction of the Grassmann manifold.

    With I + KᵀK = LLᵀ, Y = [A; B] = [I; K] L⁻ᵀ is orthonormal, and the block reflector I - W (A + I)⁻ᵀWᵀ with
    W = [A + I; B] takes the first r unit vectors to -Y: its other columns complete Y, and cost one small product
    more. A is triangular with a diagonal in (0, 1], so that A + I is far from singular.
    """
    rank = step.shape[-1]
    U, rest = basis[..., :rank], basis[..., rank:]
    gram = step.mT @ step
    gram.diagonal(dim1=-2, dim2=-1).add_(1)
    eye = torch.eye(rank, dtype=step.dtype, device=step.device)
    A = torch.linalg.solve_triangular(torch.linalg.cholesky_ex(gram).L, eye, upper=False).mT
    B = step @ A
    new = torch.baddbmm(U @ A, rest, B)
    across = torch.linalg.solve_triangular((A + eye).mT, B.mT, upper=False)
    return torch.cat([new, torch.baddbmm(rest, new + U, across, alpha=-1)], dim=-1)
