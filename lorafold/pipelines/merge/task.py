"""What a merge works on: adapters as they take part, layers, the plan; and those without statistics apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lorafold.adapters import Adapter
from lorafold.calibration import Statistics
from lorafold.core_space import Layer
from lorafold.layers.line_up import line_up, template
from lorafold.pipelines.merge.balance import balancing_factors, scaled, truncated
from lorafold.pipelines.merge.block_weights import depths
from lorafold.pipelines.merge.calibration import (
    ByModule,
    check_statistics,
    load_calibration,
    presence,
    split_layers,
)
from lorafold.pipelines.merge.combine import check_ranks
from lorafold.pipelines.merge.metrics import Calibrated
from lorafold.pipelines.merge.plan import Plan, make_plan
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.pipelines.merge.whole import with_merged


@dataclass(frozen=True)
class Task:
    """What is merged, and how."""

    adapters: list[Adapter]  # as they take part: cut and balanced
    balance: tuple[float, ...]  # the factors that have balanced them
    layers: list[Layer]
    joint_rank: int  # the largest of any layer
    plan: Plan  # its rank at most that
    dtype: torch.dtype  # of the factors of the merged adapter


def lined_up(inputs: Sequence[Adapter], plan: Plan) -> Task:
    """The task of merging all layers of the adapters; its plan has a rank that they can have.

    Raises:
        LorafoldError: shapes, ranks or patterns of weights that do not go together.
    """
    adapters, balance = _prepared(inputs, plan)
    layers = line_up(adapters)
    check_ranks(plan.core, layers)
    plan.weights.check([layer.name for layer in layers])
    joint_rank = max(min(sum(layer.ranks), *layer.shape) for layer in layers)
    rank = plan.rank and min(plan.rank, joint_rank)  # a core rank may still be larger
    known = depths(adapters) if plan.weights.grow else {}
    plan = replace(plan, weights=replace(plan.weights, factors=plan.blocks.factors(adapters), depths=known), rank=rank)
    dtype = plan.dtype or template(layers[0].name, inputs).up.dtype
    layers = with_merged(layers, plan) if plan.core.whole else layers
    return Task(adapters, tuple(balance), layers, joint_rank, plan, dtype)


def _prepared(inputs: Sequence[Adapter], plan: Plan) -> tuple[list[Adapter], list[float]]:
    """The adapters as they take part, and the factors that have balanced them."""
    cut = [truncated(adapter, rank) for adapter, rank in zip(inputs, plan.truncate, strict=True)]
    if not plan.balance:
        return cut, [1.0] * len(cut)
    balance = balancing_factors(cut, plan.weights.default, plan.balance, plan.device)
    return [scaled(adapter, gain) for adapter, gain in zip(cut, balance, strict=True)], balance


def statistics_of(plan: Plan, read: Sequence[Adapter]) -> list[Statistics]:
    """Those of the adapters, as these were read; none without calibration."""
    if plan.calibration is None:
        return []
    statistics = load_calibration(plan.calibration)
    check_statistics(statistics, read, plan.calibration)
    return statistics


def calibrated_parts(
    task: Task, statistics: Sequence[ByModule], inputs: Sequence[Adapter], chosen: MergeSettings
) -> tuple[list[Task], Calibrated]:
    """The layers with statistics, and those without as a merge of their own, as it would be without calibration."""
    plan = task.plan
    split = split_layers(task.layers, statistics, plan.weights, task.balance, plan.ridge, plan.subspaces)
    tasks = []
    if split.calibrated:
        present = presence(split.calibrated, task.adapters)
        tasks = [replace(task, layers=split.calibrated, plan=replace(plan, weights=plan.weights.relative(present)))]
    if split.plain:
        names = {layer.name for layer in split.plain}
        plain = lined_up(inputs, make_plan(chosen.without_calibration(), len(inputs)))
        tasks += [replace(plain, layers=[layer for layer in plain.layers if layer.name in names])]
    return tasks, Calibrated(frozenset(layer.name for layer in split.calibrated), split.ridge, tuple(split.alike))
