"""Layers that are merged together: equal slots, in batches of a bounded size."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lorafold.core_space import SIDES, Layer, Side

# Layers of one slot layout that are worth a batch of their own.
_FEW = 16
# R x R float64 matrices that a layer takes in a merge from several starts, with room to spare.
_MATRICES = 200
# Numbers of such a matrix over all layers of a batch on a CPU: those of 48 layers of R = 128. Some fifty are held at a
# time, 300 MB in float64 for each thread.
_NUMBERS = 48 * 128 * 128
# Where R is at least this, batches are of one shape of layers, if these are narrower than R.
_WIDE = 128


@dataclass(frozen=True)
class Bucket:
    """Layers whose factors have room in the same slots, and so can be stacked."""

    slots: tuple[int, ...]  # columns per adapter
    positions: list[int]  # among all layers
    full: frozenset[Side] = frozenset()  # sides that are narrower than all slots together, in layers of one shape

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

    On a CPU fewer where they are large, and an even number of parts, unless there are few layers, so that none is left
    for one of two cores alone. On a GPU as few as there is memory for.

    Args:
        rank: of the subspaces that are looked for, if buckets may be joined, and sides be full.
    """
    gpu = device is not None and device.type == "cuda"

    def room(bucket: Bucket) -> int:
        return _room(device, sum(bucket.slots)) if gpu else max(1, min(most, _NUMBERS // _size(bucket, layers)))

    return [
        replace(bucket, positions=part)
        for joined in buckets(layers, rank)
        for bucket in (_by_shape(joined, layers, rank) if rank else [joined])
        for part in _split(bucket.positions, room(bucket), even=not gpu)
    ]


def _size(bucket: Bucket, layers: Sequence[Layer]) -> int:
    """Numbers of a matrix in core space."""
    shape, width = layers[bucket.positions[0]].shape, sum(bucket.slots)
    return math.prod(length if side in bucket.full else width for side, length in zip(SIDES, shape, strict=True))


def _by_shape(bucket: Bucket, layers: Sequence[Layer], rank: int) -> list[Bucket]:
    """Those whose sides are narrower than R apart, a bucket for each shape; such a side is its own core space."""
    width = sum(bucket.slots)
    if width < _WIDE:
        return [bucket]
    parts: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position in bucket.positions:
        layer = layers[position]
        plain = layer.calibration is None and min(layer.shape) >= rank
        parts[tuple(length if plain and length < width else 0 for length in layer.shape)].append(position)
    return [
        Bucket(bucket.slots, own, frozenset(side for side, length in zip(SIDES, lengths, strict=True) if length))
        for lengths, own in parts.items()
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
