"""The merge: files -> adapters -> core space -> (U, V) -> core rule -> lift -> adapter.

b = modules, N = adapters, R = core dimension, r = rank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.assemble import assemble
from lorafold.core_space import RANK_TOLERANCE, Layer, lift, reduce_layers
from lorafold.inputs import check_list, line_up, load_all, non_finite_named, pieces, template
from lorafold.measure import measure
from lorafold.metrics import MergedBatch, merge_metrics
from lorafold.parallel import map_pieces
from lorafold.plan import Plan, make_plan
from lorafold.settings import Settings
from lorafold.solvers import Solution
from lorafold.stopwatch import Stopwatch

Progress = Callable[[str, int, int], None]
# Modules per piece of work: on a CPU few enough to stay in its cache.
_MOST = {"cpu": 32, "cuda": 4096}
# Relative to the terms of a sum.
_CANCELLED = 1e-12


@dataclass(frozen=True)
class MergeResult:
    """The merged adapter, and per batch of modules what was found."""

    adapter: Adapter
    inputs: tuple[Adapter, ...]
    batches: tuple[MergedBatch, ...]
    seconds: dict[str, float]

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: inputs, summary, modules."""
        return merge_metrics(self.inputs, self.adapter, self.batches, self.seconds)


def merge(
    adapters: Sequence[str | Path | Adapter],
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> MergeResult:
    """Merge LoRA adapters into one of a chosen rank.

    For every module the column and row space of ΔW_3 = B_3 A_3 minimise the chosen objective, and the core rule
    combines the adapters' updates in them.

    Args:
        adapters: files, folders or adapters in memory, all of one format.
        settings: see `Settings`.
        progress: called as progress(stage, done, total), in modules.
        changes: fields of `Settings` to replace, e.g. rank=16, objective="geodesic".

    Raises:
        LorafoldError: a mistake in the settings or in a file.
    """
    clock = Stopwatch()
    check_list(adapters)
    plan = make_plan(replace(settings or Settings(), **changes), len(adapters))
    with clock("read"):
        inputs = load_all(adapters)
        layers = line_up(inputs)
    dtype = plan.dtype or template(layers[0].name, inputs).up.dtype
    work = partial(_merge_piece, layers=layers, plan=plan, dtype=dtype)
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    batches = []
    with non_finite_named(inputs):
        with clock("merge"):
            for batch in map_pieces(work, pieces(layers, _MOST[plan.device.type]), plan.device):
                batches.append(batch.report)
                factors |= batch.factors
                if progress:
                    progress("merge", len(factors), len(layers))
        in_order = {layer.name: factors[layer.name] for layer in layers}
        merged = assemble(inputs, _coefficients(plan), plan.scale, in_order)
    return MergeResult(merged, tuple(inputs), tuple(batches), _stages(clock.seconds, batches))


def _stages(seconds: Mapping[str, float], batches: Sequence[MergedBatch]) -> dict[str, float]:
    """Wall-clock seconds per stage; those of parallel work in the shares of what its threads spent."""
    spent: Counter[str] = Counter()
    for batch in batches:
        spent.update(batch.seconds)
    return {"read": seconds["read"]} | {k: seconds["merge"] * v / spent.total() for k, v in spent.items()}


@dataclass(frozen=True)
class _Merged:
    """One piece of the work, done."""

    report: MergedBatch
    factors: dict[str, tuple[Tensor, Tensor]]


def _merge_piece(
    piece: tuple[tuple[int, ...], list[int]], layers: Sequence[Layer], plan: Plan, dtype: torch.dtype
) -> _Merged:
    clock = Stopwatch()
    slots, rows = piece
    rank = min(plan.rank or sum(slots), sum(slots))
    with clock("gram"):
        weights = torch.tensor(plan.weights, dtype=torch.float64, device=plan.device).expand(len(rows), -1)
        batch = reduce_layers([layers[i] for i in rows], slots, weights)
    with clock("solve"):
        solution = plan.solve(plan.objective(batch.problem, rank))
    with clock("core"):
        cores = batch.problem.coordinates(solution.left, solution.right)
        merged = plan.scale * plan.core(cores, weights)
        measures = measure(batch.problem, solution.left, solution.right, cores, merged, plan.scale)
        left, right, kept = _balanced(merged, _rounding(plan, cores, weights), solution)
    with clock("lift"):
        ups, downs = lift(batch, left, right, dtype)
        ranks = kept.clamp_min(1).tolist() if plan.rank is None else [plan.rank] * len(rows)
        factors = {
            layer.name: (_fit(up, k, 1), _fit(down, k, 0))
            for layer, up, down, k in zip(batch.layers, ups.factors, downs.factors, ranks, strict=True)
        }
    drift = torch.maximum(_drift(ups.gram), _drift(downs.gram))
    report = MergedBatch(batch.layers, ranks, batch.problem.energies, solution, measures, drift, dict(clock.seconds))
    return _Merged(report, factors)


def _coefficients(plan: Plan) -> list[float]:
    """What the core rule makes of a single number that one adapter has: the weights of biases and the like."""
    weights = torch.tensor([plan.weights], dtype=torch.float64)
    alone = torch.eye(len(plan.weights), dtype=torch.float64)[:, :, None, None]
    return [float(plan.core(one[None], weights)) for one in alone]


def _rounding(plan: Plan, cores: Tensor, weights: Tensor) -> Tensor:
    """Below this, a singular value of the merged core is what is left of updates that cancel.  (b,)

    The scale is that of the rule's result for any one adapter alone.
    """
    ones = torch.eye(cores.shape[1], dtype=cores.dtype, device=cores.device)[:, None, :, None, None]
    alone = torch.stack([torch.linalg.matrix_norm(plan.core(cores * one, weights)) for one in ones])
    return _CANCELLED * abs(plan.scale) * alone.amax(0)


def _balanced(merged: Tensor, rounding: Tensor, solution: Solution) -> tuple[Tensor, Tensor, Tensor]:
    """U Q √S and V R √S of merged = Q S Rᵀ, and how many singular values count.  (b, R, r), (b, R, r), (b,)

    Those below `rounding` (b,) are what is left of updates that cancel.
    """
    Q, S, Rt = torch.linalg.svd(merged)
    S = S * (S > rounding[:, None])
    root = S.sqrt()[:, None, :]
    count = (S > RANK_TOLERANCE * S[:, :1]).sum(-1)
    return solution.left @ (Q * root), solution.right @ (Rt.mT * root), count


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
