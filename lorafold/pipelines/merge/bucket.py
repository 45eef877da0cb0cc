"""One bucket of a merge: layers that share a slot layout, from their factors to those of the merged adapter.

b = modules, N = adapters, R = core dimension, r = rank, k = core rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.common.stopwatch import Stopwatch
from lorafold.core_space import RANK_TOLERANCE, CoreBatch, Layer, Liftable, liftable, reduce_layers
from lorafold.core_space.problem import Problem
from lorafold.geometry.eigen import eigh
from lorafold.geometry.singular import SVD, svd
from lorafold.layers.buckets import Bucket
from lorafold.pipelines.compare.batch import ComparedBatch
from lorafold.pipelines.merge.balance import inner_product
from lorafold.pipelines.merge.combine import combine
from lorafold.pipelines.merge.compared import as_written, compared_in_core
from lorafold.pipelines.merge.measures import Measures, measure
from lorafold.pipelines.merge.metrics import MergedBatch
from lorafold.pipelines.merge.plan import Plan
from lorafold.pipelines.merge.whole import apart, without_merged
from lorafold.scales import UpdateNorms, update_norms
from lorafold.solvers import Solution

Factors = dict[str, tuple[Tensor, Tensor]]  # up (m, r) and down (r, n) by module name
# Relative to the terms of a sum.
_CANCELLED = 1e-12
# Relative: singular values nearer to each other than this count as equal.
_TIE = 1e-8


@dataclass(frozen=True)
class MergedBucket:
    """A merge in core space, its factors still to be formed: that waits for a scale, which takes all buckets' sizes."""

    factors: Liftable
    sizes: UpdateNorms
    ranks: list[int]  # of the merged modules
    energies: Tensor  # ‖ΔW_i‖² as merged, that is balanced (b, N)
    solution: Solution
    measures: Measures
    seconds: Mapping[str, float]
    compared: ComparedBatch | None = None  # the adapters and the merged one, where that was asked for

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those of the bucket, row by row."""
        return self.factors.layers


def merge_bucket(bucket: Bucket, layers: Sequence[Layer], plan: Plan, compare: bool = False) -> MergedBucket:
    """Merge the layers of a bucket.

    Args:
        bucket: of `layers`.
        layers: of all modules.
        plan: of the merge.
        compare: whether the adapters and the merged one are compared as well; never in the norm of statistics.
    """
    clock = Stopwatch()
    own, width = bucket.select(layers), sum(bucket.slots)
    rank = min(plan.rank or width, width)
    with clock("gram"):
        batch, whole = _reduced(bucket, own, plan)
    with clock("solve"):
        solution = plan.solve(plan.objective(batch.problem, min(plan.core_rank or width, width)))
    with clock("core"):
        cores = batch.problem.coordinates(solution.left, solution.right)
        if whole:
            merged = plan.scale * whole.coordinates(solution.left, solution.right)[:, 0]
        else:
            emphasis = plan.emphasis(batch.problem)
            merged = plan.scale * combine(plan.core, batch, solution.left, solution.right, cores, emphasis, plan.seed)
        if plan.per_direction:
            merged = plan.per_direction(batch.problem, solution.left, solution.right, merged)
        rounding = _rounding(plan, cores, batch.problem.weights)
        if merged.shape[-1] > rank:
            solution, merged = _cut(solution, merged, (batch.problem.weights[..., None, None] * cores).sum(1), rank)
            cores = batch.problem.coordinates(solution.left, solution.right)
        measures = measure(batch.problem, solution.left, solution.right, cores, merged, plan.scale)
        parts = _above(rounding, svd(merged))
        factors, kept = _balanced(batch, parts, solution)
        ranks = kept.clamp_min(1).tolist() if plan.rank is None else [plan.rank] * len(own)
    compared = None
    if compare:
        with clock("compare"):
            compared = compared_in_core(batch, bucket.positions, solution, parts, kept)
    measured = update_norms(cores, _real(merged, rounding), batch.problem.weights, batch.problem.energies)
    return MergedBucket(factors, measured, ranks, _energies(batch), solution, measures, clock.seconds, compared)


def _reduced(bucket: Bucket, own: Sequence[Layer], plan: Plan) -> tuple[CoreBatch, Problem | None]:
    """The layers in core space; apart from the adapters what a rule of whole layers has made of them."""
    weights = torch.tensor([plan.weights.of(layer.name) for layer in own], dtype=torch.float64)
    count = weights.shape[1]
    padded = pad(weights, (0, len(bucket.slots) - count)).to(plan.device)
    batch = reduce_layers(own, bucket.slots, padded, full=bucket.full)
    return apart(batch, count) if plan.core.whole else (batch, None)


def _energies(batch: CoreBatch) -> Tensor:
    """‖ΔW_i‖², in the ordinary norm.  (b, N)"""
    if batch.layers[0].calibration is None:
        return batch.problem.energies
    sizes = [
        [scale * scale * inner_product(up, down) for up, down, scale in zip(*own, strict=True)]
        for own in ((layer.ups, layer.downs, layer.scales) for layer in batch.layers)
    ]
    return torch.tensor(sizes, dtype=torch.float64, device=batch.problem.weights.device).clamp_min(0)


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
    Q, S, Rt = svd(merged)
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
    return eigh(unit - 4 * torch.diag_embed(cluster.to(unit.dtype))).vectors.flip(-1)


def _above(rounding: Tensor, merged: SVD) -> SVD:
    """Without the singular values below `rounding` (b,): they are what is left of updates that cancel."""
    return merged._replace(S=merged.S * (merged.S > rounding[:, None]))


def _real(merged: Tensor, rounding: Tensor) -> Tensor:
    """The merged core, zero where it is no more than rounding.  (b, r, r)"""
    return merged * (torch.linalg.matrix_norm(merged) > rounding)[:, None, None]


def _balanced(batch: CoreBatch, merged: SVD, solution: Solution) -> tuple[Liftable, Tensor]:
    """U Q √S and V R √S of merged = Q S Rᵀ, to be lifted, and how many singular values count (b,)."""
    Q, S, Rt = merged
    root = S.sqrt()[:, None, :]
    count = (S > RANK_TOLERANCE * S[:, :1]).sum(-1)
    return liftable(batch, solution.left @ (Q * root), solution.right @ (Rt.mT * root)), count


def lift_bucket(
    merged: MergedBucket, scale: float, dtype: torch.dtype, balance: Sequence[float]
) -> tuple[Factors, MergedBatch]:
    """The factors of every layer, each times `scale`, and what there is to report of them.

    Args:
        balance: the factors on the adapters before the merge: the energies reported are those without.
    """
    clock = Stopwatch()
    with clock("lift"):
        ups, downs = merged.factors.lift(dtype, scale)
        factors = {
            layer.name: (_fit(up, k, 1), _fit(down, k, 0))
            for layer, up, down, k in zip(merged.layers, ups.factors, downs.factors, merged.ranks, strict=True)
        }
        drift = torch.maximum(_drift(ups.gram), _drift(downs.gram))
    squares = torch.tensor(balance, dtype=torch.float64, device=merged.energies.device).square()
    return factors, MergedBatch(
        layers=tuple(without_merged(layer, len(balance)) for layer in merged.layers),
        ranks=merged.ranks,
        energies=merged.energies / squares,
        solution=merged.solution,
        measures=merged.measures,
        orthonormality=drift,
        seconds={**merged.seconds, **clock.seconds},
        compared=merged.compared and as_written(merged.compared, factors, scale**2, balance),
    )


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
