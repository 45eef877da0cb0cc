"""Which inputs a step sees, and how large it is. Both follow from the seed and the number of the step alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

WARM_UP, LEAST = 5, 0.05


def rate(step: int, steps: int) -> float:
    """Share of the learning rate: rising over 5 steps, then along a cosine to 5 %."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    progress = (step - WARM_UP) / max(1, steps - WARM_UP)
    return LEAST + (1 - LEAST) * (1 + math.cos(math.pi * progress)) / 2


def batch_of(step: int, size: int, inputs: Sequence[int], seed: int) -> list[int]:
    """The inputs of a step: one after the other in an order that changes once all were seen."""
    count = len(inputs)
    orders: dict[int, list[int]] = {}
    chosen = []
    for position in range(step * size, step * size + min(size, count)):
        epoch, place = divmod(position, count)
        if epoch not in orders:
            orders[epoch] = _order(count, seed, epoch)
        chosen.append(inputs[orders[epoch][place]])
    return chosen


def held_back(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Which inputs are learnt from, and which are not: at least one of each."""
    order = _order(count, seed, -1)
    held = min(max(1, round(count * share)), count - 1)
    return sorted(order[held:]), sorted(order[:held])


def _order(count: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch + 1)
    return torch.randperm(count, generator=generator).tolist()
