"""The merge: files -> adapters -> core space -> (U, V) -> core rule -> lift -> adapter.

b = modules, N = adapters, R = core dimension, r = rank.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

import torch

from lorafold.adapters import Adapter, save
from lorafold.adapters.metadata.header import merged_metadata
from lorafold.adapters.selection import recorded
from lorafold.common.errors import LorafoldError
from lorafold.common.parallel import map_parallel
from lorafold.common.progress import Progress, Stage, listening
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.common.text import span
from lorafold.core_rules import CoreRule
from lorafold.layers.assemble import assemble
from lorafold.layers.buckets import split_buckets
from lorafold.layers.line_up import check_list, load_all, non_finite_named, read_all
from lorafold.pipelines._metrics import read_from
from lorafold.pipelines._tables import data_frame, source_lines
from lorafold.pipelines.compare.batch import ComparedBatch
from lorafold.pipelines.merge.bucket import Factors, MergedBucket, lift_bucket, merge_bucket
from lorafold.pipelines.merge.calibration import by_module
from lorafold.pipelines.merge.metrics import Calibrated, MergedBatch, merge_metrics
from lorafold.pipelines.merge.plan import Plan, make_plan
from lorafold.pipelines.merge.residual import Residual, residual
from lorafold.pipelines.merge.settings import MergeOptions, MergeSettings
from lorafold.pipelines.merge.table import LEGEND, kept_cell, merge_table
from lorafold.pipelines.merge.task import Task, calibrated_parts, lined_up, statistics_of
from lorafold.pipelines.merge.underflow import warn_of_underflow
from lorafold.pipelines.merge.warnings import kept, warn_of_inputs, warn_of_vanishing, warn_of_weights
from lorafold.scales import Scale, capped_for_sum, joined_norms

Part = TypeVar("Part")
Result = TypeVar("Result")

# Modules per bucket on a CPU: more are held in memory at once, fewer cost more calls for the same arithmetic.
_MOST = 48
# Adapters of which all pairs are compared beside the merge: the overlaps of many take more memory than the merge.
_COMPARED = 8


@dataclass(frozen=True)
class MergeResult:
    """The merged adapter, and per batch of modules what was found."""

    adapter: Adapter
    inputs: tuple[Adapter, ...]  # as they were read
    settings: MergeSettings
    batches: tuple[MergedBatch, ...]
    scale: float  # λ, given or chosen
    gains: tuple[float, ...]  # that balanced the inputs; 1 each unless asked for
    seconds: dict[str, float]
    calibrated: Calibrated | None = None  # which modules were, and how
    left_out: tuple[str, ...] = ()  # layers, by `layers` and `exclude`
    residual: Residual | None = None  # where it was asked for

    @property
    def compared(self) -> list[ComparedBatch]:
        """The adapters and the merged one side by side; empty unless all modules are, see `merge_and_compare`."""
        known = [batch.compared for batch in self.batches if batch.compared]
        return known if len(known) == len(self.batches) else []

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: inputs, summary, modules."""
        found = merge_metrics(self.inputs, self.adapter, self.batches, self.seconds, self.calibrated)
        found["summary"] |= {"scale": self.scale, **recorded(self.left_out)}
        if self.residual is not None:
            found["summary"]["residual"] = self.residual.share
        for entry, gain in zip(found["inputs"], self.gains, strict=True):
            entry["gain"] = gain
        return found

    def save(self, path: str | Path) -> Path:
        """Write the adapter, but over none of the inputs: see `lorafold.save`."""
        return save(self.adapter, path, forbid=read_from(self.inputs, self.settings.base))

    def to_pandas(self) -> Any:
        """A data frame with a row per module: what `metrics()` has in `modules`."""
        return data_frame(self.metrics()["modules"])

    def _repr_html_(self) -> str:
        """For notebooks: the closing table."""
        metrics = self.metrics()
        notes = [*source_lines(metrics["inputs"]), *LEGEND.strip().splitlines()]
        return merge_table(metrics).html(repr(self), notes)

    def __repr__(self) -> str:
        """One line: modules, rank, what is kept of each adapter, and how many modules converged."""
        summary, ranks = self.metrics()["summary"], (module.rank for module in self.adapter.modules.values())
        converged = f"{summary['converged']}/{summary['modules']} converged"
        shares = " ".join(kept_cell(summary["retained"]).split())
        return f"MergeResult({summary['modules']} modules, rank {span(ranks)}, kept {shares}, {converged})"


def merge(
    adapters: Sequence[str | Path | Adapter],
    settings: MergeSettings | None = None,
    *,
    progress: Progress | bool | None = None,
    **changes: Unpack[MergeOptions],
) -> MergeResult:
    """Merge LoRA adapters into one of a chosen rank.

    For every module the column and row space of ΔW_3 = B_3 A_3 minimise the chosen objective, and the core rule
    combines the adapters' updates in them.

    Args:
        adapters: files, folders or adapters in memory, of one base model.
        settings: all settings at once; None: the defaults.
        progress: True: a bar, in a terminal or a notebook; a function: called as progress(stage, modules through it,
            modules in all).
        changes: single settings by name, e.g. rank=16, objective="geodesic". `help(lorafold.MergeSettings)` lists them.

    Raises:
        LorafoldError: a mistake in the settings or in a file.
    """
    check_list(adapters)
    chosen = apply_changes(MergeSettings, settings, changes)
    with listening(progress) as tell:
        return _merge(adapters, chosen, tell)


def merge_and_compare(
    adapters: Sequence[str | Path | Adapter], settings: MergeSettings, *, progress: Progress | None = None
) -> MergeResult:
    """The same, and how the adapters and the merged one lie to each other, while their bases are at hand."""
    with listening(progress) as tell:
        return _merge(adapters, settings, tell, compare=len(adapters) <= _COMPARED)


def _merge(
    adapters: Sequence[str | Path | Adapter], chosen: MergeSettings, tell: Progress, compare: bool = False
) -> MergeResult:
    clock = Stopwatch()
    plan = make_plan(chosen, len(adapters))
    warn_of_weights(chosen.weights, plan)
    with clock("read"):
        read = read_all(adapters, chosen.base, chosen.input_rank)
        statistics = statistics_of(plan, read)
        inputs = load_all(read, chosen.base, chosen.input_rank, chosen.allow_different_bases)
        inputs, left_out = plan.selection.of(inputs)
        warn_of_inputs(inputs)
    with non_finite_named(inputs):
        with clock("read"):
            task = lined_up(inputs, plan)
            known = [by_module(*own) for own in zip(statistics, read, inputs, strict=True)] if statistics else None
            tasks, calibrated = calibrated_parts(task, known, inputs, chosen) if known else ([task], None)
        with clock("merge"):
            compare = compare and not any(plan.truncate)  # it is with the adapters as they were read
            parts = [_in_core(task, tell, compare) for task in tasks]
            lifted = [_lifted(part, tell) for part in parts]
        merged = _joined([_assembled(*both) for both in zip(parts, lifted, strict=True)], task)
    lost = _residual(parts, merged) if chosen.residual else None
    norms = {name: norm for part in parts for name, norm in _norms(part).items()}
    warn_of_underflow([*merged.modules.values()], norms)
    batches = tuple(batch for own in lifted for _, batch in own)
    shares, strength = kept([(part.buckets, part.task.plan.weights) for part in parts]), parts[0].scale
    del parts, lifted  # the search for a rank that keeps more needs the memory
    if task.plan.rank:
        most = task.joint_rank if chosen.core_rank in (None, "max") else min(task.joint_rank, chosen.core_rank)
        kept_at = partial(_kept_at, tasks=tasks, same=chosen.core_rank is None, tell=tell)
        warn_of_vanishing(shares, inputs, task.plan.rank, most, kept_at)
    seconds = _stages(clock.seconds, batches)
    return MergeResult(
        merged, tuple(inputs), chosen, batches, strength, tasks[0].balance, seconds, calibrated, left_out, lost
    )


@dataclass(frozen=True)
class _InCore:
    """What was merged in core space, λ, and what of it is still to be applied."""

    task: Task
    buckets: list[MergedBucket]
    scale: float
    gain: float


def _in_core(task: Task, tell: Progress, compare: bool) -> _InCore:
    buckets = list(_merge_layers(task, tell, compare=compare))
    return _InCore(task, buckets, *_strength(task.plan, buckets))


def _lifted(part: _InCore, tell: Progress) -> list[tuple[Factors, MergedBatch]]:
    task = part.task
    root = math.sqrt(part.gain)  # rounded once
    work = partial(lift_bucket, scale=root, dtype=task.dtype, balance=task.balance)
    return list(_through(Stage.LIFT, work, part.buckets, _counts(part.buckets), task.plan.device, tell))


def _merge_layers(
    task: Task, tell: Progress, stage: Stage = Stage.MERGE, compare: bool = False
) -> Iterator[MergedBucket]:
    plan = task.plan
    work = partial(merge_bucket, layers=task.layers, plan=plan, compare=compare)
    buckets = split_buckets(task.layers, _MOST, plan.core_rank, plan.device)
    return _through(stage, work, buckets, [len(bucket.positions) for bucket in buckets], plan.device, tell)


def _kept_at(rank: int, tasks: Sequence[Task], same: bool, tell: Progress) -> list[float]:
    """What the merge keeps of each adapter at another rank, which is the core rank too where that is the same."""
    parts = []
    for task in tasks:
        plan = replace(task.plan, rank=rank, core_rank=rank if same else task.plan.core_rank)
        parts.append((list(_merge_layers(replace(task, plan=plan), tell, Stage.OTHER_RANK)), plan.weights))
    return kept(parts)


def _counts(merged: Sequence[MergedBucket]) -> list[int]:
    return [len(bucket.layers) for bucket in merged]


def _through(
    stage: Stage,
    work: Callable[[Part], Result],
    parts: Sequence[Part],
    sizes: Sequence[int],
    device: torch.device,
    tell: Progress,
) -> Iterator[Result]:
    """`work` of every part, telling how many of the modules in them, `sizes`, are through."""
    count = 0
    tell(stage, count, sum(sizes))
    for result, size in zip(map_parallel(work, parts, device), sizes, strict=True):
        count += size
        tell(stage, count, sum(sizes))
        yield result


def _strength(plan: Plan, merged: Sequence[MergedBucket]) -> tuple[float, float]:
    """λ, and what of it is still to be applied: one that was given is in what is lifted."""
    if plan.rescale is None:
        return plan.scale, 1.0
    scale = _chosen_scale(plan.rescale, plan.core, merged)
    return scale, scale


def _chosen_scale(rescale: Scale, rule: CoreRule, merged: Sequence[MergedBucket]) -> float:
    """λ from the adapters alone; 1 if they merge to nothing.

    Raises:
        LorafoldError: no λ > 0 does what was asked for.
    """
    sizes = joined_norms([bucket.sizes for bucket in merged])
    if not bool(sizes.merged.any()):
        return 1.0
    scale = float(capped_for_sum(rescale, sizes) if rule.is_sum else rescale(sizes))
    if not (scale > 0 and math.isfinite(scale)):
        raise LorafoldError(
            f"the merged update points away from the adapters: the scale that was asked for would be {scale:.3g}",
            remedy="Give a number, for example scale=1.",
        )
    return scale


def _norms(part: _InCore) -> dict[str, float]:
    """‖ΔW_3‖ by module name, times the gain."""
    names = [layer.name for bucket in part.buckets for layer in bucket.layers]
    norms = part.gain * joined_norms([bucket.sizes for bucket in part.buckets]).merged.sqrt()
    return dict(zip(names, norms.tolist(), strict=True))


def _joined(parts: Sequence[Adapter], task: Task) -> Adapter:
    """The modules of all parts as one adapter, in the order of the layers; the rest is that of the first part."""
    if len(parts) == 1:
        return parts[0]
    modules = {name: module for part in parts for name, module in part.modules.items()}
    ordered = {layer.name: modules[layer.name] for layer in task.layers}
    ranks = [module.rank for module in ordered.values()]
    metadata = merged_metadata(task.adapters, task.plan.weights.default, ranks)
    return replace(parts[0], modules=ordered, metadata=metadata)


def _assembled(part: _InCore, lifted: Sequence[tuple[Factors, MergedBatch]]) -> Adapter:
    """The merged adapter; biases and the like count as the core rule makes of weights where there is no core."""
    task, plan, adapters = part.task, part.task.plan, part.task.adapters
    factors = {name: pair for bucket, _ in lifted for name, pair in bucket.items()}
    coefficients = partial(_coefficients, plan.core)
    names = [*factors, *(key for adapter in adapters for key in adapter.deltas)]
    own = {name: coefficients(plan.weights.of(name)) for name in names} if plan.weights.vary else {}
    ordered = {layer.name: factors[layer.name] for layer in task.layers}
    return assemble(adapters, coefficients(plan.weights.default), part.scale, ordered, own)


def _coefficients(rule: CoreRule, weights: Sequence[float]) -> list[float]:
    return rule.coefficients(torch.tensor(weights, dtype=torch.float64)).tolist()


def _residual(parts: Sequence[_InCore], merged: Adapter) -> Residual:
    """The adapters take part alike in all parts; weights and scales are those of each."""
    scaled = {
        layer.name: [part.scale * c for c in _coefficients(part.task.plan.core, part.task.plan.weights.of(layer.name))]
        for part in parts
        for layer in part.task.layers
    }
    task = parts[0].task
    return residual(merged, task.adapters, task.plan.weights.default, scaled)


def _stages(seconds: Mapping[str, float], batches: Sequence[MergedBatch]) -> dict[str, float]:
    """Wall-clock seconds per stage; those of parallel work in the shares of what its threads spent."""
    spent: Counter[str] = Counter()
    for batch in batches:
        spent.update(batch.seconds)
    return {"read": seconds["read"]} | {k: seconds["merge"] * v / spent.total() for k, v in spent.items()}
