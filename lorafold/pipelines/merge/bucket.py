"""One piece of a merge: layers that share a slot layout, from their factors to what makes those of the merged adapter.

b = modules, N = adapters, R = core dimension, r = rank, k = core rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.common.stopwatch import Stopwatch
from lorafold.core_space import RANK_TOLERANCE, Layer, Liftable, liftable, reduce_layers
from lorafold.pipelines.merge.combine import combine
from lorafold.pipelines.merge.measures import measure
from lorafold.pipelines.merge.metrics import MergedBatch
from lorafold.pipelines.merge.plan import Plan
from lorafold.scales import Sizes, sizes
from lorafold.solvers import Solution

Factors = dict[str, tuple[Tensor, Tensor]]  # up (m, r) and down (r, n) by module name
# Relative to the terms of a sum.
_CANCELLED = 1e-12
# Relative: singular values nearer to each other than this count as equal.
_TIE = 1e-8


@dataclass(frozen=True)
class MergedPiece:
    """The merged factors, still to be formed, what was measured of them, and what chooses their scale."""

    report: MergedBatch
    factors: Liftable
    sizes: Sizes


def merge_piece(piece: tuple[tuple[int, ...], list[int]], layers: Sequence[Layer], plan: Plan) -> MergedPiece:
    """Merge some of the layers.

    Args:
        piece: slots of the adapters, and the positions of layers whose ranks fit into them.
        layers: of all modules.
        plan: of the merge.
    """
    clock = Stopwatch()
    slots, rows = piece
    some = [layers[i] for i in rows]
    rank = min(plan.rank or sum(slots), sum(slots))
    with clock("gram"):
        weights = torch.tensor([plan.weights.of(layer.name) for layer in some], dtype=torch.float64)
        batch = reduce_layers(some, slots, weights.to(plan.device))
    with clock("solve"):
        solution = plan.solve(plan.objective(batch.problem, min(plan.core_rank or sum(slots), sum(slots))))
    with clock("core"):
        cores = batch.problem.coordinates(solution.left, solution.right)
        merged = plan.scale * combine(plan.core, batch, solution.left, solution.right, cores, plan.seed)
        rounding = _rounding(plan, cores, batch.problem.weights)
        if merged.shape[-1] > rank:
            solution, merged = _cut(solution, merged, (batch.problem.weights[..., None, None] * cores).sum(1), rank)
            cores = batch.problem.coordinates(solution.left, solution.right)
        measures = measure(batch.problem, solution.left, solution.right, cores, merged, plan.scale)
        left, right, kept = _balanced(merged, rounding, solution)
        factors = liftable(batch, left, right)
        ranks = kept.clamp_min(1).tolist() if plan.rank is None else [plan.rank] * len(rows)
    report = MergedBatch(
        batch.layers, ranks, batch.problem.energies, solution, measures, torch.zeros_like(solution.value), clock.seconds
    )
    real = merged * (torch.linalg.matrix_norm(merged) > rounding)[:, None, None]
    return MergedPiece(report, factors, sizes(cores, real, batch.problem.weights, batch.problem.energies))


def _rounding(plan: Plan, cores: Tensor, weights: Tensor) -> Tensor:
    """Below this, a singular value of the merged core is what is left of updates that cancel.  (b,)

    The scale is that of the largest term of the weighted sum.
    """
    terms = plan.core.coefficients(weights).abs() * torch.linalg.matrix_norm(cores)
    return _CANCELLED * abs(plan.scale) * terms.amax(-1)


def _cut(solution: Solution, merged: Tensor, total: Tensor, rank: int) -> tuple[Solution, Tensor]:
    """The leading singular directions of U merged Vᵀ as subspaces, and the merged core in them.  (b, r, r)

    Some rules make singular values equal. Of those, the directions come first in which the weighted sum is strongest.

    Args:
        merged: (b, k, k).
        total: UᵀMV, of the weighted sum M (b, k, k).
    """
    Q, S, Rt = torch.linalg.svd(merged)
    Z = _untied(S, Q.mT @ total @ Rt.mT)[..., :rank]
    Q, R = Q @ Z, Rt.mT @ Z
    return replace(solution, left=solution.left @ Q, right=solution.right @ R), Q.mT @ merged @ R


def _untied(S: Tensor, total: Tensor) -> Tensor:
    """A rotation within equal singular values S (b, k), descending, after which `total` (b, k, k) descends there."""
    drops = S[:, :-1] - S[:, 1:] > _TIE * S[:, :1]
    cluster = pad(drops.cumsum(-1), (1, 0))  # (b, k)
    inside = (total + total.mT) * (cluster[:, :, None] == cluster[:, None, :])
    size = torch.linalg.matrix_norm(inside)[:, None, None]
    unit = inside / torch.where(size > 0, size, 1.0)  # eigenvalues in [-1, 1], so that clusters stay apart
    return torch.linalg.eigh(unit - 4 * torch.diag_embed(cluster.to(unit.dtype))).eigenvectors.flip(-1)


def _balanced(merged: Tensor, rounding: Tensor, solution: Solution) -> tuple[Tensor, Tensor, Tensor]:
    """U Q √S and V R √S of merged = Q S Rᵀ, and how many singular values count.  (b, R, r), (b, R, r), (b,)

    Those below `rounding` (b,) are what is left of updates that cancel.
    """
    Q, S, Rt = torch.linalg.svd(merged)
    S = S * (S > rounding[:, None])
    root = S.sqrt()[:, None, :]
    count = (S > RANK_TOLERANCE * S[:, :1]).sum(-1)
    return solution.left @ (Q * root), solution.right @ (Rt.mT * root), count


def lift_piece(piece: MergedPiece, scale: float, dtype: torch.dtype) -> tuple[Factors, MergedBatch]:
    """The factors of every layer, each times `scale`, and the report with how far the bases are from orthonormal."""
    clock, report = Stopwatch(), piece.report
    with clock("lift"):
        ups, downs = piece.factors.lift(dtype, scale)
        factors = {
            layer.name: (_fit(up, k, 1), _fit(down, k, 0))
            for layer, up, down, k in zip(report.layers, ups.factors, downs.factors, report.ranks, strict=True)
        }
        drift = torch.maximum(_drift(ups.gram), _drift(downs.gram))
    return factors, replace(report, orthonormality=drift, seconds={**report.seconds, **clock.seconds})


def _fit(factor: Tensor, rank: int, dim: int) -> Tensor:
    """The leading `rank` components, zero-padded if there are fewer."""
    have = factor.shape[dim]
    if have >= rank:
        return factor.narrow(dim, 0, rank).contiguous()
    shape = list(factor.shape)
    shape[dim] = rank - have
    return torch.cat([factor, factor.new_zeros(shape)], dim)


def _drift(gram: Tensor) -> Tensor:
    """How far the lifted bases are from orthonormal: the Gram matrix of U√S should be S.  (b,)"""
    size = gram.diagonal(dim1=-2, dim2=-1)
    inverse = torch.where(size > 0, size, 1.0).rsqrt() * (size > 0)
    unit = gram * inverse[:, :, None] * inverse[:, None, :]
    return (unit - torch.diag_embed((size > 0).to(gram.dtype))).abs().amax((-2, -1))
