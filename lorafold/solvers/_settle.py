"""From several starts to the best point whose certificate holds, by the method that the distance allows.

b = modules, S = starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.common.batched import map_tensors, scatter_rows, select_rows
from lorafold.objectives import Objective
from lorafold.solvers._bases import Bases, completed
from lorafold.solvers._curvature import curvature, lowest_along
from lorafold.solvers._leading import bound, framed, is_large, leading
from lorafold.solvers._newton import approach, descend
from lorafold.solvers._solution import Method, Point, Solution, point
from lorafold.solvers._starts import forms, starts
from lorafold.solvers._sweeps import sweeps
from lorafold.solvers._thin import descend_thin

# A module that converges from its first start in so many Newton steps has hardly a better minimum elsewhere.
_EASY = 5
# Other starts are left where they come so near to a point that is known: Σ sin²θ of either side. Steps after which this
# is asked where float32 does not do for them.
_NEAR, _EARLY = 0.1, {Method.NEWTON: 2, Method.SWEEPS: 10}
# Of the tolerance: in leading subspaces, and after them, where a step costs little; what float64 is sure to reach.
_COARSER, _FINER, _FINEST = 10.0, 0.1, 1e-9
# So many steps in float32 at most; the rest is for float64, whatever they have reached.
_COARSE_STEPS = 16
# A later start has to be better by this part of F: so that rounding decides nothing.
_BETTER = 1e-9
# Eigenvalues of the Hessian are negative, relative to the largest, below this, and zero within it. A direction counts
# where it moves so much.
_ZERO, _MOVES = 1e-5, 1e-4
# How far to go along a direction of negative curvature, radians, and how often.
_LENGTHS, _ESCAPES = (1.0, 0.3, 0.1, 0.03, 0.01), 3


@dataclass(frozen=True)
class Progress:
    """Where every module is, and how it came there."""

    at: Point
    value_start: Tensor  # F at the first start (b,)
    steps: Tensor  # (b,)
    method: Tensor  # a `Method` (b,)
    bound: Tensor  # of F from below; NaN where there is none (b,)
    curvature: Tensor  # NaN where it is not known (b,)
    determined: Tensor  # no direction along which F does not change (b,)


@dataclass(frozen=True)
class Descent:
    """How to go down from a point: by Newton steps, or by sweeps, which need no Hessian.

    The first steps tell where a start leads: those from other starts to a point that is known go no further. Newton
    steps on a quadratic distance take them in float32.
    """

    method: Method
    tol: float  # bound on the relative Riemannian gradient norm
    max_steps: int  # give up on a module after so many
    is_coarse: bool = False  # whether float32 does for the first steps

    @property
    def first_steps(self) -> int:
        """How many there are at most."""
        return min(_COARSE_STEPS, self.max_steps // 2) if self.is_coarse else min(_EARLY[self.method], self.max_steps)

    def __call__(self, objective: Objective, bases: Bases) -> tuple[Point, Tensor]:
        """The last point of every module and its number of steps (b,)."""
        if not self.is_coarse:
            return self._in_double(objective, bases, self.max_steps)
        near, before = self.begin(objective, bases)
        last, steps = self.end(objective, near)
        return last, before + steps

    def begin(self, objective: Objective, bases: Bases) -> tuple[Bases, Tensor]:
        """The first steps: where they end, and how many they were (b,)."""
        if self.is_coarse:
            return approach(objective, bases, self.first_steps)
        last, steps = self._in_double(objective, bases, self.first_steps)
        return _completed(last), steps

    def end(self, objective: Objective, bases: Bases) -> tuple[Point, Tensor]:
        """The other steps: the last point of every module, and how many they were (b,)."""
        return self._in_double(objective, bases, self.max_steps - self.first_steps)

    def _in_double(self, objective: Objective, bases: Bases, max_steps: int) -> tuple[Point, Tensor]:
        if not max_steps:
            return _at(objective, bases), torch.zeros_like(objective.constant, dtype=torch.int64)
        if self.method == Method.NEWTON:
            return descend(objective, bases, self.tol, max_steps, least=int(self.is_coarse))
        return sweeps(objective, _at(objective, bases), self.tol, max_steps)


def descent(objective: Objective, tol: float, max_steps: int) -> Descent:
    """Newton steps, or sweeps where the distance has no Hessian."""
    method = Method.NEWTON if objective.is_curved else Method.SWEEPS
    return Descent(method, tol, max_steps, is_coarse=objective.is_quadratic)


def begin(objective: Objective, descent: Descent, count: int | None) -> Progress:
    """The best that is found from so many starts (None: enough, and one for a module that converges at once from it).

    A module for which the relaxed point is the solution, as where either term stands alone, has no other start.
    """
    if is_large(objective) and descent.max_steps:
        return _begin_large(objective, descent, count)
    at = forms(objective)
    first = _at(objective, at.relaxed)
    none = torch.zeros_like(first.value, dtype=torch.int64)
    unknown = torch.full_like(first.value, torch.nan)
    here = Progress(first, first.value, none, none + Method.CLOSED_FORM, at.bound, unknown, none == 0)
    rows = (first.gradient_norm > descent.tol).nonzero().squeeze(-1)
    if not len(rows):
        return here
    part = select_rows(objective, rows)
    several = starts(select_rows(at, rows), part, count)
    best, steps = descent(part, next(several))
    hard = (steps > (_EASY if count is None else 0)).nonzero().squeeze(-1)
    others = [select_rows(bases, hard) for bases in several] if descent.max_steps and len(hard) else []
    if others:
        found, more = _best_of(select_rows(part, hard), select_rows(best, hard), others, descent)
        best, steps = (
            scatter_rows(best, hard, found),
            steps.index_copy(0, hard, torch.where(more > 0, more, steps[hard])),
        )
    how = torch.where(steps > 0, int(descent.method), int(Method.CLOSED_FORM))
    return replace(
        here,
        at=scatter_rows(first, rows, best),
        steps=none.index_copy(0, rows, steps),
        method=here.method.index_copy(0, rows, how),
    )


def _begin_large(objective: Objective, descent: Descent, count: int | None) -> Progress:
    """From all starts in the leading subspaces, and from there on the whole sides."""
    at = leading(objective)
    small = at.restricted(objective)
    near = begin(small, replace(descent, tol=_COARSER * descent.tol), count)
    frames = framed(small, at, near.at.left, near.at.right)
    left, right = (frame[..., : objective.rank].contiguous() for frame in frames)
    tol = min(descent.tol, max(_FINER * descent.tol, _FINEST))
    left, right, more = descend_thin(objective, left, right, frames, tol, descent.max_steps)
    return replace(
        near,
        at=point(objective, left, right),
        steps=near.steps + more,
        method=torch.full_like(near.method, int(descent.method)),
        bound=bound(objective, at),
    )


def _best_of(objective: Objective, known: Point, others: list[Bases], descent: Descent) -> tuple[Point, Tensor]:
    """The lowest of a point that is known and those from other starts; the steps to it, 0 to the known one (b,)."""
    count, b = len(others), len(objective.constant)
    rows = torch.arange(b, device=objective.constant.device)
    everything = select_rows(objective, rows.repeat(count))
    near, steps = descent.begin(everything, map_tensors(others[0], lambda *sides: torch.cat(sides), *others[1:]))
    keep = _distinct(known, near, count, objective.rank).nonzero().squeeze(-1)
    if not len(keep):
        return known, torch.zeros_like(rows)
    last, more = descent.end(select_rows(everything, keep), select_rows(near, keep))
    # where each start ended among the points, the known ones first; the last place is for those that were left
    reached = torch.arange(len(keep), device=rows.device) + b
    where = torch.full((count * b,), -1, device=rows.device).index_copy(0, keep, reached)
    values = torch.cat([known.value, last.value, last.value.new_full((1,), torch.inf)])
    table = torch.cat([rows, where]).view(count + 1, b)
    chosen = table[_lowest(values[table], objective.rounding), rows]
    everywhere = map_tensors(known, lambda *points: torch.cat(points), last)
    return select_rows(everywhere, chosen), torch.cat([torch.zeros_like(rows), steps[keep] + more])[chosen]


def _distinct(known: Point, near: Bases, count: int, rank: int) -> Tensor:
    """Which points of so many starts are far from the known one and from all earlier ones that are.  (S b,)"""
    b = len(known.value)
    sides = (side[..., :rank].view(count, b, -1, rank) for side in (near.left, near.right))
    points = [(known.left, known.right), *zip(*sides, strict=True)]
    far = [torch.ones_like(known.value, dtype=torch.bool)]
    for new in points[1:]:
        known_before = [
            torch.stack([_apart(*pair) <= _NEAR for pair in zip(new, old, strict=True)]).all(0) & own
            for old, own in zip(points, far, strict=False)
        ]
        far.append(~torch.stack(known_before).any(0))
    return torch.cat(far[1:])


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Σ sin²θ.  (b,)"""
    return one.shape[-1] - (one.mT @ other).square().sum((1, 2))


def _lowest(values: Tensor, rounding: Tensor) -> Tensor:
    """The first start of (S, b) that is as good as any.  (b,)"""
    least = values.amin(0)
    return (values <= least + rounding + _BETTER * least.abs()).to(torch.uint8).argmax(0)


def settled(objective: Objective, here: Progress, descent: Descent) -> Progress:
    """No saddle: where F bends down at a stationary point, further along that direction and on from there."""
    for _ in range(_ESCAPES + 1):
        rows = ((here.at.gradient_norm <= descent.tol) & here.curvature.isnan()).nonzero().squeeze(-1)
        if not len(rows):
            break
        here, saddles, beside = off_saddles(objective, here, rows)
        if len(saddles):
            last, more = descent(select_rows(objective, saddles), _completed(beside))
            here = moved(here, saddles, last, more, descent.method)
    return here


def off_saddles(objective: Objective, here: Progress, rows: Tensor) -> tuple[Progress, Tensor, Point]:
    """With the curvature at `rows`; which of them are saddles, and lower points beside those."""
    part, at = select_rows(objective, rows), select_rows(here.at, rows)
    bend = curvature(part, at)
    here = replace(
        here,
        curvature=here.curvature.index_copy(0, rows, bend.least),
        determined=here.determined.index_copy(0, rows, (bend.least > _ZERO) | (bend.moves <= _MOVES)),
    )
    down = (bend.least < -_ZERO).nonzero().squeeze(-1)
    if not len(down):
        return here, down, select_rows(at, down)
    own = select_rows(part, down)
    beside = point(own, *lowest_along(own, select_rows(bend, down), _LENGTHS))
    lower = beside.value < at.value[down] - own.rounding
    return here, rows[down[lower]], select_rows(beside, lower)


def moved(here: Progress, rows: Tensor, to: Point, steps: Tensor, method: Method) -> Progress:
    """With other points at `rows`, of which nothing is known yet to second order."""
    return replace(
        here,
        at=scatter_rows(here.at, rows, to),
        steps=here.steps.index_add(0, rows, steps),
        method=here.method.index_fill(0, rows, int(method)),
        curvature=here.curvature.index_fill(0, rows, torch.nan),
    )


def solution(here: Progress, tol: float) -> Solution:
    """A point with its history; it converged where its certificate holds and the Hessian shows no saddle."""
    at = here.at
    return Solution(
        left=at.left,
        right=at.right,
        value=at.value,
        value_start=here.value_start,
        gradient_norm=at.gradient_norm,
        iterations=here.steps,
        converged=(at.gradient_norm <= tol) & (here.curvature >= -_ZERO),
        bound=here.bound,
        curvature=here.curvature,
        determined=here.determined,
        method=here.method,
    )


def _completed(at: Point) -> Bases:
    return Bases(completed(at.left), completed(at.right))


def _at(objective: Objective, bases: Bases) -> Point:
    return point(objective, bases.left[..., : objective.rank], bases.right[..., : objective.rank])
