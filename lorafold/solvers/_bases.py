"""Whole orthogonal bases X = [U U⊥] and Y = [V V⊥], and turns of them.

b = modules, p / q = left / right dimension, d = either, r = rank, c = d - r.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.geometry import polar
from lorafold.geometry.eigen import eigh
from lorafold.geometry.singular import svd


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
    if frame.is_cuda:  # which takes QR decompositions one after another
        return torch.cat([frame, complement(frame)], dim=-1)
    return torch.cat([frame, torch.linalg.qr(frame, mode="complete").Q[..., frame.shape[-1] :]], dim=-1)


def orthonormalised(frame: Tensor) -> Tensor:
    """An orthogonal matrix whose first r columns span what the frame (b, d, r) of full rank spans.  (b, d, d)"""
    if frame.is_cuda:
        return completed(polar(frame))
    return torch.linalg.qr(frame, mode="complete").Q


def complement(frame: Tensor) -> Tensor:
    """An orthonormal basis of what is orthogonal to the orthonormal frame (b, d, r), by a block reflector.  (b, d, c)

    With P the polar factor of the first r rows, so that UPᵀ = [H; B] with H >= 0, it is [-Bᵀ; I - B (I + H)⁻¹Bᵀ].
    """
    rank = frame.shape[-1]
    left, _, right = svd(frame[..., :rank, :])
    turned = frame @ (left @ right).mT
    H, B = turned[..., :rank, :], turned[..., rank:, :]
    definite = (H + H.mT) / 2 + torch.eye(rank, dtype=frame.dtype, device=frame.device)
    rest = -B @ torch.cholesky_solve(B.mT, torch.linalg.cholesky_ex(definite).L)
    rest.diagonal(dim1=-2, dim2=-1).add_(1)
    return torch.cat([-B.mT, rest], dim=-2)


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
