"""Whether two adapters are the same: bit by bit, as updates, and as subspaces.

b = modules of a batch, s = side (0 left, 1 right), a = principal angles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.adapters.module import identical
from lorafold.core_space import Layer, reduce_layers
from lorafold.core_space.problem import Problem
from lorafold.layers.buckets import buckets
from lorafold.layers.line_up import line_up, non_finite_named
from lorafold.pipelines.compare.overlap import overlap, singular_frames


@dataclass(frozen=True)
class Agreement:
    """How far one module of two adapters agrees.

    Args:
        name: of the module.
        identical: the factors are the same to the bit.
        angle: the largest principal angle between the column or the row spaces of the updates, in radians.
        difference: ‖ΔW' - ΔW‖ relative to the larger of ‖ΔW‖ and ‖ΔW'‖.
    """

    name: str
    identical: bool
    angle: float
    difference: float


def agreements(first: Adapter, second: Adapter) -> list[Agreement]:
    """Compare two adapters module by module, exactly, in core space.

    A module that only one of them has differs by 1, at a right angle.

    Raises:
        LorafoldError: the adapters disagree on the shape of a module, or hold NaN or Inf.
    """
    layers = line_up([first, second])
    agreements: dict[str, Agreement] = {}
    with non_finite_named([first, second]):
        for bucket in buckets(layers):
            for name, angle, difference in _compared(bucket.select(layers), bucket.slots):
                same = identical(first.modules.get(name), second.modules.get(name))
                agreements[name] = Agreement(name, same, angle, difference)
    return [agreements[layer.name] for layer in layers]


def verdict(modules: Sequence[Agreement], tolerance: float) -> str:
    """`identical`; `equal` where no angle (in radians) and no difference exceeds the tolerance; or `different`."""
    if all(module.identical for module in modules):
        return "identical"
    return "equal" if all(max(module.angle, module.difference) <= tolerance for module in modules) else "different"


def _compared(layers: Sequence[Layer], slots: tuple[int, ...]) -> list[tuple[str, float, float]]:
    weights = torch.ones(len(layers), 2, dtype=torch.float64)
    batch = reduce_layers(layers, slots, weights)
    one, other = singular_frames(batch)
    angles = overlap(one, other, ()).angles.amax((0, -1))  # (s, b, a) -> (b,)
    angles = torch.where(one.dims == other.dims, angles, torch.pi / 2)  # one more is at right angles
    differences = _differences(batch.problem)
    return list(zip((layer.name for layer in layers), angles.tolist(), differences.tolist(), strict=True))


def _differences(problem: Problem) -> Tensor:
    """(b,)"""
    updates = problem.updates()
    size = torch.linalg.matrix_norm(updates).amax(-1)
    gap = torch.linalg.matrix_norm(updates[:, 1] - updates[:, 0])
    return torch.where(size > 0, gap / size, 0.0)
