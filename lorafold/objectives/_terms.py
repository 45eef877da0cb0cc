"""The subspace term of an objective, in the two forms that it can take.

b = modules, N = adapters, d = p or q (dimension of a side), K = directions per adapter, r = rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from lorafold.objectives.distances._registry import DISTANCES, Distance
from lorafold.objectives.distances._side import QuadraticSide, SecondOrderTerm, SpectralSide

# By how much the shift of a term grows where a step has overshot, and how far; steps are shorter than rounding then.
_MORE, _MOST = 4.0, 4.0**10


class Term(Protocol):
    """Σ_i share_i δ(X, X_i) of one side, as a function of the orthonormal X (b, d, r)."""

    @property
    def form(self) -> Tensor | None:
        """P with value = constant - tr(XᵀPX) (b, d, d), if the distance is quadratic."""

    @property
    def shift(self) -> Tensor:
        """s >= 0 with s ‖X‖² - value convex in X.  (b,)"""

    @property
    def most(self) -> Tensor:
        """The largest value, at orthogonal subspaces.  (b,)"""

    @property
    def is_curved(self) -> bool:
        """Whether `expand` exists."""

    def forms(self) -> Sequence[Tensor]:
        """share_i X_iX_iᵀ / r of every adapter (b, d, d); none where they are summed up already."""

    def evaluate(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Value (b,) and Euclidean gradient (b, d, r) at X = frame."""

    def expand(self, basis: Tensor, rank: int) -> SecondOrderTerm:
        """Value and derivatives at X = the first `rank` columns of the orthogonal basis (b, d, d)."""


@dataclass(frozen=True)
class QuadraticTerm:
    """constant - tr(XᵀPX)."""

    form: Tensor  # (b, d, d)
    constant: Tensor  # (b,)

    @property
    def shift(self) -> Tensor:
        return torch.zeros_like(self.constant)

    @property
    def most(self) -> Tensor:
        return self.constant

    @property
    def is_curved(self) -> bool:
        return True

    def forms(self) -> Sequence[Tensor]:
        return ()

    def evaluate(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.form @ frame
        return self.constant - (frame * seen).sum((1, 2)), -2 * seen

    def expand(self, basis: Tensor, rank: int) -> QuadraticSide:
        return replace(self, form=basis.mT @ (self.form @ basis)).expand_here(rank)

    def expand_here(self, rank: int) -> QuadraticSide:
        """The same at the first `rank` unit vectors."""
        form = -2 * self.form
        inward = form[:, :rank, :rank]
        trace = inward.diagonal(dim1=-2, dim2=-1).sum(-1)
        return QuadraticSide(self.constant + trace / 2, inward, form[:, rank:, :rank], form[:, rank:, rank:])


@dataclass(frozen=True)
class SpectralTerm:
    """Any distance, evaluated on the overlaps with every frame."""

    distance: Distance
    rank: int
    frames: Tensor  # (b, N, d, K)
    dims: Tensor  # (b, N)
    shares: Tensor  # (b, N)
    caution: Tensor  # factor on the distance's own shift (b,)

    @property
    def form(self) -> None:
        return None

    @property
    def shift(self) -> Tensor:
        shared = self.dims.clamp_max(self.rank).to(self.shares.dtype)
        return self.caution * (self.shares * self.distance.shift(shared, self.rank)).sum(-1)

    @property
    def most(self) -> Tensor:
        return self.shares.sum(-1)

    @property
    def is_curved(self) -> bool:
        return self.distance.expand is not None

    def forms(self) -> Sequence[Tensor]:
        wide = self.frames * (self.shares / self.rank).sqrt()[..., None, None]
        return [frames @ frames.mT for frames in wide.unbind(1)]

    def evaluate(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = self.distance.evaluate(self.frames.mT @ frame[:, None], self.dims)
        return (self.shares * value).sum(-1), (self.frames @ (slope * self.shares[..., None, None])).sum(1)

    def expand(self, basis: Tensor, rank: int) -> SpectralSide:
        assert self.distance.expand is not None
        b, N, d, K = self.frames.shape
        overlap = (self.frames.transpose(2, 3).reshape(b, N * K, d) @ basis).view(b, N, K, d)
        here, across = overlap[..., :rank], overlap[..., rank:]
        bent = self.distance.expand(here, self.dims)
        share = self.shares[..., None, None]
        slope = share * bent.slope
        return SpectralSide(
            value=(self.shares * bent.value).sum(-1),
            inward=(here.mT @ slope).sum(1),
            slope=(across.mT @ slope).sum(1),
            across=across,
            Q=bent.Q,
            R=bent.R,
            within=share * bent.within,
            crossed=share * bent.crossed,
            outside=share * bent.outside,
        )


def chordal_counterpart(term: Term) -> Term:
    """The same frames and shares under the chordal distance, which has a closed form."""
    if not isinstance(term, SpectralTerm):
        return term
    return subspace_term(DISTANCES["chordal"], term.rank, term.frames, term.dims, term.shares)


def more_cautious(term: Term, rows: Tensor) -> Term:
    """The term with a larger shift in some rows, where a step has overshot."""
    if not isinstance(term, SpectralTerm):
        return term
    grown = (_MORE * term.caution[rows]).clamp_max(_MOST)
    return replace(term, caution=term.caution.index_copy(0, rows, grown))


def subspace_term(distance: Distance, rank: int, frames: Tensor, dims: Tensor, shares: Tensor) -> Term:
    """The form that suits the distance: P = Σ_i share_i a_i X_iX_iᵀ if it is quadratic."""
    if distance.stiffness is None:
        return SpectralTerm(distance, rank, frames, dims, shares, torch.ones_like(shares[:, 0]))
    shared = dims.clamp_max(rank).to(shares.dtype)
    weight = shares * distance.stiffness(shared, rank)
    wide = (frames * weight.sqrt()[..., None, None]).transpose(1, 2).flatten(2)  # (b, d, N K)
    return QuadraticTerm(wide @ wide.mT, (weight * shared).sum(-1))
