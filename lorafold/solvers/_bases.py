"""Whole orthogonal bases X = [U U⊥] and Y = [V V⊥], and turns of them.

b = modules, p / q = left / right dimension, d = either, r = rank, c = d - r.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.geometry import polar
from lorafold.geometry.eigen import eigh
from lorafold.geometry.singular import svd
from lorafold.objectives import Objective, QuadraticTerm, Term


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


@dataclass(frozen=True)
class Turn:
    """An orthogonal matrix Φ = [Y, I - (Y + P) across] (b, d, d), Y = [A; B], whose product with another is thin."""

    near: Tensor  # A (b, r, r)
    far: Tensor  # B (b, c, r)
    across: Tensor  # (b, r, c)
    polar: Tensor | None = None  # P (b, r, r), in the first r rows; None: the identity

    def __call__(self, basis: Tensor) -> Tensor:
        """XΦ for X = basis (b, .., d)."""
        rank = self.near.shape[-1]
        U, rest = basis[..., :rank], basis[..., rank:]
        new = torch.baddbmm(U @ self.near, rest, self.far)
        whole = new + (U if self.polar is None else U @ self.polar)
        return torch.cat([new, torch.baddbmm(rest, whole, self.across, alpha=-1)], dim=-1)

    def around(self, form: Tensor, other: Turn) -> Tensor:
        """ΦᵀMΨ for M = form (b, p, q), Ψ being the other."""
        return self(other(form).mT.contiguous()).mT


def turned(basis: Tensor, step: Tensor) -> Tensor:
    """[U U⊥] turned so that U spans U + U⊥K, K = step (b, c, r): a retraction of the Grassmann manifold."""
    return turn_by(step)(basis)


def turn_by(step: Tensor) -> Turn:
    """What turns [U U⊥] so.

    With I + KᵀK = LLᵀ, Y = [A; B] = [I; K] L⁻ᵀ is orthonormal, and the block reflector I - W (A + I)⁻ᵀWᵀ with
    W = [A + I; B] takes the first r unit vectors to -Y: its other columns complete Y, and cost one small product
    more. A is triangular with a diagonal in (0, 1], so that A + I is far from singular.
    """
    gram = step.mT @ step
    gram.diagonal(dim1=-2, dim2=-1).add_(1)
    eye = torch.eye(step.shape[-1], dtype=step.dtype, device=step.device)
    A = torch.linalg.solve_triangular(torch.linalg.cholesky_ex(gram).L, eye, upper=False).mT
    B = step @ A
    return Turn(A, B, torch.linalg.solve_triangular((A + eye).mT, B.mT, upper=False))


def turn_to(frame: Tensor) -> Turn:
    """What turns the first r unit vectors to an orthonormal frame (b, d, r), by the reflector of `complement`."""
    near, far = frame[..., : frame.shape[-1], :], frame[..., frame.shape[-1] :, :]
    left, _, right = svd(near)
    P = left @ right
    H = near @ P.mT
    definite = (H + H.mT) / 2 + torch.eye(len(P[0]), dtype=frame.dtype, device=frame.device)
    return Turn(near, far, P.mT @ torch.cholesky_solve(P @ far.mT, torch.linalg.cholesky_ex(definite).L), P)


def unit_vectors(frame: Tensor) -> Tensor:
    """Those of the space of frames (b, d, r).  (b, d, d)"""
    return torch.eye(frame.shape[-2], dtype=frame.dtype, device=frame.device).expand(len(frame), -1, -1)


def in_bases(objective: Objective, left: Turn, right: Turn) -> Objective:
    """A quadratic objective in the coordinates of turned bases: ΦᵀPΦ, ΨᵀQΨ and ΦᵀT_jΨ by thin products."""
    return replace(
        objective,
        left=_in_basis(objective.left, left),
        right=_in_basis(objective.right, right),
        targets=torch.stack([left.around(T, right) for T in objective.targets.unbind(1)], 1),
    )


def _in_basis(term: Term, turn: Turn) -> Term:
    assert isinstance(term, QuadraticTerm)
    return replace(term, form=turn.around(term.form, turn))
