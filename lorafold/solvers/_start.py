"""Where every solver starts: exact eigenspaces.

b = modules, r = rank.
"""

from __future__ import annotations

from torch import Tensor

from lorafold.common.batched import scatter_rows, select_rows
from lorafold.objectives import Objective, Term
from lorafold.solvers._bases import Bases, eigenbasis
from lorafold.solvers._solution import Point, point


def start(objective: Objective, tol: float) -> tuple[Point, Bases]:
    """The point to measure progress from, and bases no worse to go on from.

    For quadratic distances the point is `closed_form`, the bases a sweep later where it is not the minimiser yet: that
    makes the large rotations, of which a local model knows nothing. For others both are what that gives for the
    chordal distance.
    """
    chordal = objective.chordal
    bases = closed_form(chordal)
    first = _at(chordal, bases)
    rows = (first.gradient_norm > tol).nonzero().squeeze(-1)
    if len(rows):
        bases = scatter_rows(bases, rows, _swept(select_rows(chordal, rows), select_rows(bases, rows)))
    return first if objective.is_quadratic else _at(objective, bases), bases


def closed_form(objective: Objective) -> Bases:
    """V from the right quadratic form plus Σ_j T_jᵀT_j, then the best U for it.

    It is the solution if either term stands alone: for the chordal distance with reconstruction_weight = 0 the flag
    (extrinsic) mean, and with subspace_weight = 0 and one target the truncated SVD (Eckart-Young).
    """
    wide = objective.targets.flatten(1, 2)  # (b, J p, q)
    right = eigenbasis(_form(objective.right) + wide.mT @ wide)
    return Bases(_best_left(objective, right), right)


def _swept(objective: Objective, bases: Bases) -> Bases:
    """The best V for the present U, then the best U for that V."""
    right = _best_left(objective.transposed, bases.left)
    return Bases(_best_left(objective, right), right)


def _best_left(objective: Objective, right: Tensor) -> Tensor:
    projection = objective.seen_from_left(right[..., : objective.rank])
    return eigenbasis(_form(objective.left) + projection @ projection.mT)


def _form(term: Term) -> Tensor:
    if term.form is None:
        raise TypeError(f"{type(term).__name__} has no quadratic form")
    return term.form


def _at(objective: Objective, bases: Bases) -> Point:
    return point(objective, bases.left[..., : objective.rank], bases.right[..., : objective.rank])
