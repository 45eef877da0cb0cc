"""Layers that are merged together: equal slots, in batches of a bounded size."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lorafold.core_space import Layer

# Layers of one slot layout that are worth a batch of their own.
_FEW = 16
# R x R float64 matrices that a layer takes in a merge from several starts, with room to spare.
_MATRICES = 200


@dataclass(frozen=True)
class Bucket:
    """Layers whose factors have room in the same slots, and so can be stacked."""

    slots: tuple[int, ...]  # columns per adapter
    positions: list[int]  # among all layers

    def select(self, layers: Sequence[Layer]) -> list[Layer]:
        """The layers in it, of all."""
        return [layers[position] for position in self.positions]


def buckets(layers: Sequence[Layer], rank: int | None = None) -> list[Bucket]:
    """One bucket for each slot layout.

    A missing adapter takes one (zero) column, so that no matrix is empty. With a `rank`, layouts of few layers are
    rounded up and joined, as adapters of mixed ranks have dozens; only of layers whose joint rank is at least `rank`,
    so that padding changes no shape that a core rule sees.
    """
    exact: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position, layer in enumerate(layers):
        exact[tuple(max(1, module_rank) for module_rank in layer.ranks)].append(position)
    joined: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for slots, positions in exact.items():
        may_join = rank is not None and len(positions) < _FEW and sum(slots) >= rank
        joined[tuple(map(_rounded, slots)) if may_join else slots] += positions
    return [Bucket(slots, sorted(positions)) for slots, positions in joined.items()]


def _rounded(rank: int) -> int:
    """The next power of two up to 16, then the next multiple of 16."""
    return 1 << (rank - 1).bit_length() if rank <= 16 else -(-rank // 16) * 16


def split_buckets(
    layers: Sequence[Layer], most: int, rank: int | None = None, device: torch.device | None = None
) -> list[Bucket]:
    """The buckets split into ones of at most so many layers, of equal size but for one layer.

    On a CPU an even number of parts, unless there are few layers, so that none is left for one of two cores alone. On a
    GPU as few as there is memory for.
    """
    gpu = device is not None and device.type == "cuda"
    return [
        Bucket(whole.slots, part)
        for whole in buckets(layers, rank)
        for part in _split(whole.positions, _room(device, sum(whole.slots)) if gpu else most, even=not gpu)
    ]


def _split(positions: list[int], most: int, even: bool) -> list[list[int]]:
    count = math.ceil(len(positions) / most)
    if even and len(positions) >= _FEW:
        count += count % 2
    return [positions[i::count] for i in range(count)]


def _room(device: torch.device | None, width: int) -> int:
    """How many layers of core dimension R fit into three quarters of a GPU's free memory."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + unused
    return max(1, int(0.75 * free) // (_MATRICES * 8 * width * width))
