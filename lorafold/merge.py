"""The merge: files -> adapters -> core space -> (U, V) -> core rule -> lift -> adapter.

b = modules, N = adapters, R = core dimension, r = rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters import Adapter, check_finite
from lorafold.assemble import assemble
from lorafold.core_space import RANK_TOLERANCE, CoreBatch, Layer, NonFiniteError, lift, reduce_layers
from lorafold.inputs import buckets, line_up, load_all
from lorafold.measure import measure
from lorafold.metrics import MergedBatch, merge_metrics
from lorafold.plan import Plan, make_plan
from lorafold.settings import Settings
from lorafold.solvers import Solution
from lorafold.stopwatch import Stopwatch

Progress = Callable[[str, int, int], None]
# Of a combined core: singular values below this, relative to the inputs, are what cancellation leaves.
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
        progress: called as progress(stage, done, total), in modules; stages are gram, solve and lift.
        changes: fields of `Settings` to replace, e.g. rank=16, objective="geodesic".

    Raises:
        LorafoldError: a mistake in the settings or in a file.
    """
    tell = progress or (lambda stage, done, total: None)
    clock = Stopwatch()
    plan = make_plan(replace(settings or Settings(), **changes), len(adapters))
    with clock("read"):
        inputs = load_all(adapters)
        layers = line_up(inputs)
    dtype = plan.dtype or next(iter(inputs[0].modules.values())).up.dtype
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    batches = []
    for slots, rows in buckets(layers).items():
        batch = _reduce([layers[i] for i in rows], slots, plan, inputs, clock)
        tell("gram", len(factors) + len(rows), len(layers))
        merged, pairs = _merge_batch(batch, plan, dtype, clock)
        tell("lift", len(factors) + len(rows), len(layers))
        batches.append(merged)
        factors |= pairs
    in_order = {layer.name: factors[layer.name] for layer in layers}
    return MergeResult(
        assemble(inputs, plan.weights, plan.scale, in_order), tuple(inputs), tuple(batches), dict(clock.seconds)
    )


def _reduce(
    layers: Sequence[Layer], slots: Sequence[int], plan: Plan, inputs: Sequence[Adapter], clock: Stopwatch
) -> CoreBatch:
    weights = torch.tensor(plan.weights, dtype=torch.float64, device=plan.device).expand(len(layers), -1)
    try:
        with clock("gram"):
            return reduce_layers(layers, slots, weights)
    except NonFiniteError:
        for adapter in inputs:
            check_finite(adapter)  # names the file and the key
        raise


def _merge_batch(
    batch: CoreBatch, plan: Plan, dtype: torch.dtype, clock: Stopwatch
) -> tuple[MergedBatch, dict[str, tuple[Tensor, Tensor]]]:
    problem = batch.problem
    rank = min(plan.rank or sum(batch.slots), sum(batch.slots))
    with clock("solve"):
        solution = plan.solve(plan.objective(problem, rank))
    with clock("core"):
        cores = problem.coordinates(solution.left, solution.right)
        merged = plan.scale * plan.core(cores, problem.weights)
        measures = measure(problem, solution.left, solution.right, cores, merged, plan.scale)
        left, right, kept = _balanced(merged, cores, solution)
    with clock("lift"):
        ups, downs = lift(batch, left, right, dtype)
    ranks = kept.clamp_min(1).tolist() if plan.rank is None else [plan.rank] * len(batch.layers)
    pairs = {
        layer.name: (_fit(up, k, 1), _fit(down, k, 0))
        for layer, up, down, k in zip(batch.layers, ups.factors, downs.factors, ranks, strict=True)
    }
    drift = torch.maximum(_drift(ups.gram), _drift(downs.gram))
    return MergedBatch(batch.layers, ranks, problem.energies, solution, measures, drift), pairs


def _balanced(merged: Tensor, cores: Tensor, solution: Solution) -> tuple[Tensor, Tensor, Tensor]:
    """U Q √S and V R √S of merged = Q S Rᵀ, and how many singular values count.  (b, R, r), (b, R, r), (b,)"""
    Q, S, Rt = torch.linalg.svd(merged)
    noise = _CANCELLED * torch.linalg.matrix_norm(cores).amax(1)
    S = S * (S > noise[:, None])
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
