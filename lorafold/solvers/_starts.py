"""Where solvers start: eigenspaces, by several cheap strategies, and what they say of the minimum before any step.

b = modules, J = reconstruction targets, d = dimension of a side, r = rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from lorafold.objectives import Objective
from lorafold.solvers._bases import Bases, eigenbasis

# How much more an adapter counts in "each adapter first".
_OUTWEIGHS = 10.0


@dataclass(frozen=True)
class Forms:
    """F with quadratic distances: constant - tr(UᵀPU) - tr(VᵀQV) - Σ_j ‖UᵀT_jV‖², and what of it is at hand."""

    objective: Objective  # its terms are quadratic
    is_exact: bool  # whether those of the problem are
    left: Tensor  # P (b, p, p)
    right: Tensor  # Q (b, q, q)
    energy_left: Tensor  # Σ_j T_jT_jᵀ (b, p, p)
    energy_right: Tensor  # Σ_j T_jᵀT_j (b, q, q)
    relaxed: Bases  # eigenvectors of P + Σ_j T_jT_jᵀ / 2 and of Q + Σ_j T_jᵀT_j / 2

    @property
    def bound(self) -> Tensor:
        """F is at least constant - Σ_top-r λ(P + Σ_j T_jT_jᵀ / 2) - Σ_top-r λ(Q + Σ_j T_jᵀT_j / 2).  (b,)

        For projectors X, Y: tr(X T Y Tᵀ) <= (‖XT‖² + ‖TY‖²) / 2. It is min F itself if either term stands alone; NaN
        where the distance is not quadratic.
        """
        F, rank = self.objective, self.objective.rank
        if not self.is_exact:
            return torch.full_like(F.constant, torch.nan)
        most = F.left.most + F.right.most + F.constant
        sides = (
            (self.relaxed.left[..., :rank], self.left + self.energy_left / 2),
            (self.relaxed.right[..., :rank], self.right + self.energy_right / 2),
        )
        return (most - sum((X * (form @ X)).sum((1, 2)) for X, form in sides)).clamp_min(0)


Strategy = Callable[[Forms, Objective], Iterator[Bases]]


def forms(objective: Objective) -> Forms:
    """Those of the objective with the chordal distance, if its own is not quadratic."""
    chordal = objective.chordal
    left, right = chordal.left.form, chordal.right.form
    assert left is not None and right is not None
    energy_left, energy_right = chordal.energies
    relaxed = Bases(eigenbasis(left + energy_left / 2), eigenbasis(right + energy_right / 2))
    return Forms(chordal, objective.is_quadratic, left, right, energy_left, energy_right, relaxed)


def _tilts(at: Forms, objective: Objective) -> Iterator[Bases]:
    """One side from its subspaces and θ times the targets, then the best other side for it.

    θ = ½ is where the lower bound of F has its minimum; more is nearer to the SVD, less to the mean subspace.
    """
    yield Bases(at.relaxed.left, _best_right(at, at.relaxed.left))
    yield _left_first(at, 2.0)
    yield Bases(_best_left(at, at.relaxed.right), at.relaxed.right)
    yield _left_first(at, 0.2)


def _left_first(at: Forms, theta: float) -> Bases:
    left = eigenbasis(at.left + theta * at.energy_left)
    return Bases(left, _best_right(at, left))


def _adapters(at: Forms, objective: Objective) -> Iterator[Bases]:
    """Each adapter's subspaces first, then what is nearest to all."""
    for left, right in zip(objective.left.forms(), objective.right.forms(), strict=True):
        sides = (at.left + at.energy_left + _OUTWEIGHS * left, at.right + at.energy_right + _OUTWEIGHS * right)
        yield Bases(*map(eigenbasis, sides))


def _random(at: Forms, objective: Objective) -> Iterator[Bases]:
    """Haar subspaces, without end."""
    source = torch.Generator().manual_seed(0)

    def haar(like: Tensor) -> Tensor:
        # the same for every module, so that what it is solved with does not matter
        normal = torch.randn(like.shape[-2:], generator=source, dtype=like.dtype)
        return like @ torch.linalg.qr(normal).Q.to(like.device)

    while True:
        yield Bases(haar(at.relaxed.left), haar(at.relaxed.right))


STRATEGIES: tuple[Strategy, ...] = (_tilts, _adapters, _random)


def starts(at: Forms, objective: Objective, count: int | None) -> Iterator[Bases]:
    """The first `count` starts of the strategies in turn.

    None: so many that hardly any module of real adapters is left above the best that is known, as docs/minima.md says.
    Sweeps, where there is no Hessian, cost too much for more than one.
    """
    every = (bases for strategy in STRATEGIES for bases in strategy(at, objective))
    return islice(every, _enough(objective) if count is None else max(1, count))


def _enough(objective: Objective) -> int:
    if not objective.is_curved:
        return 1
    if objective.is_quadratic:
        return 2 if objective.targets.shape[1] == 1 else 4
    return 4 + len(objective.left.forms())


def _best_left(at: Forms, right: Tensor) -> Tensor:
    projection = at.objective.seen_from_left(right[..., : at.objective.rank])
    return eigenbasis(at.left + projection @ projection.mT)


def _best_right(at: Forms, left: Tensor) -> Tensor:
    projection = at.objective.transposed.seen_from_left(left[..., : at.objective.rank])
    return eigenbasis(at.right + projection @ projection.mT)
