"""Large problems through their leading subspaces: the starts and most Newton steps on matrices of a few r rows.

S = P + Σ_j T_jT_jᵀ / 2 of either side is the form of which the start and the lower bound of F are made. Its leading
eigenvectors are found in a Krylov space, whose dimension w is a small multiple of r. F restricted to such spaces is an
objective like any other, and its solution a point from which Newton steps on the whole sides take few steps.

b = modules, J = reconstruction targets, d = dimension of a side (p or q), r = rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.common.batched import select_rows
from lorafold.geometry.eigen import eigh
from lorafold.objectives import Objective, QuadraticTerm, Term
from lorafold.solvers._bases import complement
from lorafold.solvers._thin import form

# A Krylov space has so many blocks of r columns.
_BLOCKS = 5
# Sides of fewer dimensions, or of so few times w, are decomposed whole.
_LARGE, _TIMES = 256, 2
# Of the largest eigenvalue: what float32 makes of the others of S at most. Of the sum of eigenvalues: what an upper
# bound may exceed it by.
_SINGLE, _LOOSE = 2e-4, 1e-5


@dataclass(frozen=True)
class Side:
    """A space that holds about the leading eigenvectors of one side's S."""

    frame: Tensor  # W, orthonormal (b, d, w)
    most: Tensor  # no less than the sum of the r largest eigenvalues of S (b,)


@dataclass(frozen=True)
class Leading:
    """The leading spaces of both sides."""

    left: Side
    right: Side

    def restricted(self, objective: Objective) -> Objective:
        """F of U = W_L X and V = W_R Y, as a function of X and Y."""
        return replace(
            objective,
            left=_restricted(objective.left, self.left.frame),
            right=_restricted(objective.right, self.right.frame),
            targets=self.left.frame.mT[:, None] @ (objective.targets @ self.right.frame[:, None]),
        )


def is_large(objective: Objective) -> bool:
    """Whether F is quadratic, of so many dimensions that its leading subspaces are worth finding first.

    Not where each adapter has a target of its own: other starts lead to other minima there.
    """
    targets, rank = objective.targets, objective.rank
    may_be = objective.is_quadratic and targets.shape[1] == 1 and not targets.is_cuda
    return may_be and max(targets.shape[-2:]) >= max(_LARGE, krylov_width(rank) + rank)


def krylov_width(rank: int) -> int:
    """w of a large side."""
    return _BLOCKS * rank


def leading(objective: Objective) -> Leading:
    """Of both sides."""
    return Leading(_side(objective), _side(objective.transposed))


def bound(objective: Objective, at: Leading) -> Tensor:
    """F is at least this: that of `Forms.bound`, from upper bounds of the sums of eigenvalues.  (b,)"""
    return (objective.most - at.left.most - at.right.most).clamp_min(0)


def framed(small: Objective, at: Leading, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """W_L and W_R turned so that they begin with U = W_L X and V = W_R Y, and S is diagonal in what is beside these."""
    return at.left.frame @ _ordered(small, left), at.right.frame @ _ordered(small.transposed, right)


def _ordered(objective: Objective, frame: Tensor) -> Tensor:
    """[X X⊥] with X⊥ᵀSX⊥ diagonal.  (b, w, w)"""
    rest = complement(frame)
    return torch.cat([frame, rest @ eigh(rest.mT @ _product(objective)(rest)).vectors.flip(-1)], -1)


def _product(objective: Objective) -> Callable[[Tensor], Tensor]:
    """X -> SX on the left."""
    P, targets = form(objective.left), objective.targets

    def product(X: Tensor) -> Tensor:
        return P @ X + (targets @ (targets.mT @ X[:, None])).sum(1) / 2

    return product


def _whole(objective: Objective, dtype: torch.dtype) -> Tensor:
    """S on the left.  (b, d, d)"""
    wide = objective.targets.transpose(1, 2).flatten(2).to(dtype)
    return torch.baddbmm(form(objective.left).to(dtype), wide, wide.mT, alpha=0.5)


def _side(objective: Objective) -> Side:
    rank, width, d = objective.rank, krylov_width(objective.rank), objective.targets.shape[-2]
    if d < max(_LARGE, _TIMES * width):
        values, vectors = eigh(_whole(objective, objective.targets.dtype))
        return Side(vectors[..., -width:].flip(-1), values[..., -rank:].sum(-1))
    frame, image = _krylov(_product(objective), objective.targets[:, 0, :, :0], rank)
    inner = frame.mT @ image
    values, Z = eigh((inner + inner.mT) / 2)
    frame, image, values = frame @ Z.flip(-1), image @ Z.flip(-1), values.flip(-1)
    return Side(frame, _most(objective, frame, image, values))


def _krylov(product: Callable[[Tensor], Tensor], like: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """An orthonormal W of the spaces SΩ, .., S^kΩ of a random Ω, and SW.  (b, d, w) twice"""
    random = torch.randn(like.shape[1], size, generator=torch.Generator().manual_seed(0), dtype=like.dtype)
    frame, image, block = like, like, product(random.expand(len(like), -1, -1))
    for _ in range(_BLOCKS):
        block = torch.linalg.qr(block).Q
        for _ in range(2):  # twice is enough to stay orthogonal
            block = torch.linalg.qr(block - frame @ (frame.mT @ block)).Q
        frame, last = torch.cat([frame, block], -1), product(block)
        image, block = torch.cat([image, last], -1), last
    return frame, image


def _most(objective: Objective, frame: Tensor, image: Tensor, values: Tensor) -> Tensor:
    """No less than the sum of the r largest eigenvalues of S, from Ritz values θ of W, and hardly more.

    With E = SW - WΘ, and all of S outside of W below μ < θ_r, the eigenvalues of S above θ_r are as many as those of
    Θ + Eᵀ(x - S⊥)⁻¹E above x for any x >= θ_r (Haynsworth 1968): they are at most those of Θ + EᵀE / (θ_r - μ). That
    all else is below μ is seen by a Cholesky decomposition. Where it is not, or the bound is loose, the eigenvalues are
    computed.
    """
    rank = objective.rank
    residual = image - frame * values[:, None, :]
    single, W, SW = _whole(objective, torch.float32), frame.float(), image.float()
    inside = W @ (values[..., None].float() * W.mT)
    outside = single - W @ SW.mT - SW @ W.mT + inside
    least = (values[:, rank - 1] + values[:, 2 * rank - 1]) / 2
    allowed = (least - _SINGLE * values[:, 0]).float()
    outside.neg_().diagonal(dim1=-2, dim2=-1).add_(allowed[:, None])
    below = (torch.linalg.cholesky_ex(outside).info == 0) & (allowed > 0)
    gap = (values[:, rank - 1] - least).clamp_min(torch.finfo(values.dtype).tiny)
    raised = torch.diag_embed(values) + residual.mT @ residual / gap[:, None, None]
    most, found = torch.linalg.eigvalsh(raised)[:, -rank:].sum(-1), values[:, :rank].sum(-1)
    unseen = (~below | (most > (1 + _LOOSE) * found)).nonzero().squeeze(-1)
    if len(unseen):
        own = select_rows(objective, unseen)
        most = most.index_copy(0, unseen, torch.linalg.eigvalsh(_whole(own, values.dtype))[:, -rank:].sum(-1))
    return most


def _restricted(term: Term, frame: Tensor) -> Term:
    assert isinstance(term, QuadraticTerm)
    return replace(term, form=frame.mT @ (term.form @ frame))
