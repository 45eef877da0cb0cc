"""Rules that work on whole layers: what they merge is one more adapter of each layer, of weight 0.

As a part of core space it is measured against the others and cut to the rank as exactly as these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from lorafold.core_space import CoreBatch, Layer, NonFiniteError
from lorafold.core_space.problem import Problem
from lorafold.pipelines.merge.plan import Plan


def with_merged(layers: Sequence[Layer], plan: Plan) -> list[Layer]:
    """The layers, with what the rule makes of each at the end.

    Raises:
        NonFiniteError: NaN or Inf among the factors.
    """
    if not all(bool(factor.isfinite().all()) for layer in layers for factor in (*layer.ups, *layer.downs)):
        raise NonFiniteError
    weights = torch.tensor([plan.weights.of(layer.name) for layer in layers], dtype=torch.float64)
    return [
        replace(layer, ups=(*layer.ups, up), downs=(*layer.downs, down), scales=(*layer.scales, 1.0))
        for layer, (up, down) in zip(layers, plan.core.function(layers, weights), strict=True)
    ]


def without_merged(layer: Layer, count: int) -> Layer:
    """The layer with its adapters alone."""
    return replace(layer, ups=layer.ups[:count], downs=layer.downs[:count], scales=layer.scales[:count])


def apart(batch: CoreBatch, count: int) -> tuple[CoreBatch, Problem]:
    """The batch with the problem of its adapters alone, and what is merged as a problem of one adapter."""
    return replace(batch, problem=_part(batch.problem, slice(count))), _part(batch.problem, slice(count, None))


def _part(problem: Problem, which: slice) -> Problem:
    kept = {name: getattr(problem, name)[:, which] for name in ("left", "right", "core", "dims", "weights")}
    return replace(problem, **kept)
