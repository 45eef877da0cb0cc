"""Second-order test: is a stationary point a minimum, a saddle, or one of many that are equally good?

b = modules, n = c + e rows of a packed tangent vector, r = rank, k = Lanczos steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.common.batched import map_tensors, select_rows
from lorafold.geometry import polar
from lorafold.objectives import Objective, split
from lorafold.solvers._bases import Bases, completed, in_bases, turn_to, unit_vectors
from lorafold.solvers._conjugate_gradients import preconditioner
from lorafold.solvers._leading import is_large
from lorafold.solvers._solution import Point

# Steps for all modules, and for those whose smallest Ritz value after them is below this part of the largest.
_STEPS, _MORE_STEPS, _CLEAR = 12, 40, 3e-3
# A Krylov space ends where the next vector is shorter than this, relative to the first product.
_ENDED = 1e-6
# Of finite differences of gradients.
_DIFFERENCE = 1e-4

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Curvature:
    """The direction in which F bends up least, or down most, among those of a Krylov space."""

    least: Tensor  # the smallest eigenvalue of the Hessian relative to the largest, each in the metric of D (b,)
    direction: Tensor  # of unit length (b, n, r)
    moves: Tensor  # how much of what U and V hold changes along it, in [0, 1] (b,)
    bases: Bases  # [U U⊥] and [V V⊥]


def curvature(objective: Objective, at: Point) -> Curvature:
    """The smallest eigenvalue of D^-½ Hess F D^-½ by Lanczos, with D as for conjugate gradients.

    Its sign is that of the smallest eigenvalue of Hess F. It is found from above: in exact arithmetic the smallest
    Ritz value is never below the smallest eigenvalue.
    A Hessian that is zero but for rounding, and one without directions, count as 1.
    """
    bases, seen = _around(objective, at)
    rows = sum(basis.shape[-1] - objective.rank for basis in (bases.left, bases.right))
    if not rows:
        nowhere = at.left.new_zeros(len(at.value), 0, objective.rank)
        return Curvature(torch.ones_like(at.value), nowhere, torch.zeros_like(at.value), bases)
    bend, scale = _second_derivative(objective, bases, seen)
    values, vector = _lanczos(bend, scale, _STEPS)
    unclear = (values[:, 0] < _CLEAR * values[:, -1]).nonzero().squeeze(-1)
    if len(unclear):
        fewer = seen and select_rows(seen, unclear)
        bend, scale = _second_derivative(select_rows(objective, unclear), select_rows(bases, unclear), fewer)
        fine, direction = _lanczos(bend, scale, _MORE_STEPS)
        values, vector = values.index_copy(0, unclear, fine), vector.index_copy(0, unclear, direction)
    size = values.abs().amax(-1)
    flat = size <= objective.rounding
    least = torch.where(flat, 1.0, values[:, 0] / torch.where(flat, 1.0, size))
    return Curvature(least, vector, _moves(objective, at, vector), bases)


def _moves(objective: Objective, at: Point, direction: Tensor) -> Tensor:
    """<K, K UᵀF_U> + <L, L VᵀF_V>, relative: 0 for directions of U and V in which no adapter has anything.  (b,)"""
    slope = objective.evaluate(at.left, at.right)
    K, L = split(direction, at.left.shape[1] - objective.rank)
    inward = at.left.mT @ slope.left, at.right.mT @ slope.right
    size = torch.stack([torch.linalg.matrix_norm(own) for own in inward]).amax(0)
    moved = sum((step * (step @ own)).sum((1, 2)).abs() for step, own in zip((K, L), inward, strict=True))
    return moved / size.clamp_min(torch.finfo(size.dtype).tiny)


def lowest_along(objective: Objective, bend: Curvature, lengths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """(U, V) with the lowest F at these lengths, either way, along the direction."""
    rank = objective.rank
    best: tuple[Tensor, Tensor] | None = None
    value = torch.full_like(bend.least, torch.inf)
    for length in (*lengths, *(-length for length in lengths)):
        left, right = _moved(bend.bases, length * bend.direction, rank)
        now = objective.evaluate(left, right).value
        lower = (now < value)[:, None, None]
        best = (left, right) if best is None else (left.where(lower, best[0]), right.where(lower, best[1]))
        value = torch.minimum(now, value)
    assert best is not None
    return best


def _around(objective: Objective, at: Point) -> tuple[Bases, Objective | None]:
    """Whole bases, and of a large problem the objective in their coordinates, in float32."""
    if not is_large(objective):
        return Bases(completed(at.left), completed(at.right)), None
    left, right = turn_to(at.left), turn_to(at.right)
    turns = map_tensors(left, Tensor.float), map_tensors(right, Tensor.float)
    single = in_bases(map_tensors(objective, Tensor.float), *turns)
    return Bases(left(unit_vectors(at.left)), right(unit_vectors(at.right))), single


def _second_derivative(objective: Objective, bases: Bases, seen: Objective | None) -> tuple[Product, Tensor]:
    """The product with Hess F, and D (b, n, r)."""
    if objective.is_curved:
        model = seen.expand_here() if seen else objective.expand(bases.left, bases.right)
        single = map_tensors(model, Tensor.float)
        return single.hessian, preconditioner(single)
    rank = objective.rank
    rows = bases.left.shape[-1] + bases.right.shape[-1] - 2 * rank
    return _differences(objective, bases), bases.left.new_ones(len(bases.left), rows, rank)


def _differences(objective: Objective, bases: Bases) -> Product:
    """Central differences of the Riemannian gradient along the polar retraction, which is one of second order."""
    rank = objective.rank

    def gradient(step: Tensor) -> Tensor:
        left, right = _moved(bases, step, rank)
        at = objective.evaluate(left, right)
        sides = (bases.left, left, at.left), (bases.right, right, at.right)
        return torch.cat([basis[..., rank:].mT @ (G - X @ (X.mT @ G)) for basis, X, G in sides], dim=1)

    def product(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        step = (_DIFFERENCE / size) * x
        return (gradient(step) - gradient(-step)) * (size / (2 * _DIFFERENCE))

    return product


def _moved(bases: Bases, step: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    K, L = split(step, bases.left.shape[-1] - rank)
    left = polar(bases.left[..., :rank] + bases.left[..., rank:] @ K)
    return left, polar(bases.right[..., :rank] + bases.right[..., rank:] @ L)


def _lanczos(bend: Product, scale: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Of D^-½ H D^-½, from one random vector: the smallest and the largest Ritz value (b, 2), and D^-½ times the Ritz
    vector of the smallest, of unit length (b, n, r)."""
    root, size = scale.rsqrt(), scale[0].numel()
    steps = min(steps, size)
    source = torch.Generator().manual_seed(0)
    start = torch.randn(size, generator=source, dtype=scale.dtype).to(scale.device)
    vector = (start / torch.linalg.vector_norm(start)).expand(len(scale), -1)
    basis = scale.new_zeros(len(scale), steps, size)
    projected = scale.new_zeros(len(scale), steps, steps)
    for step in range(steps):
        basis[:, step] = vector
        image = (root * bend(root * vector.reshape_as(scale))).flatten(1)
        so_far = basis[:, : step + 1]
        for _ in range(2):  # twice is enough to stay orthogonal
            seen = so_far @ image[..., None]
            image = torch.baddbmm(image[..., None], so_far.mT, seen, alpha=-1)[..., 0]
            projected[:, step, : step + 1] += seen[..., 0]
        length = torch.linalg.vector_norm(image, dim=-1, keepdim=True)
        # past an invariant subspace there is nothing to find: the first diagonal entry is in the range of all
        ended = length <= _ENDED * projected[:, 0, :1].abs()
        vector = torch.where(ended, 0.0, image / torch.where(ended, 1.0, length))
    below = projected.tril()
    absent = basis.square().sum(-1) < 0.5
    symmetric = below + below.tril(-1).mT + torch.diag_embed(absent * projected[:, :1, 0])
    values, vectors = torch.linalg.eigh(symmetric)
    least = root * (vectors[..., 0][:, None] @ basis).reshape_as(scale)
    unit = least / torch.linalg.vector_norm(least, dim=(1, 2), keepdim=True).clamp_min(torch.finfo(least.dtype).tiny)
    return values[:, [0, -1]].double(), unit.double()
