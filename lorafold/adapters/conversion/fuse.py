"""One layer of a model's original code as the layers of diffusers that hold its rows, and back; exact both ways.

Shapes: m = rows of the fused layer, m_j = rows of its part j, n = in, r = rank of the fused update, r_j of a part's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lorafold.adapters.formats.fold_scale import folded
from lorafold.adapters.module import Module
from lorafold.adapters.naming import Entry
from lorafold.common.errors import LorafoldError

_OTHER_MODEL = "The layer is of another model than its name says; merge files of one base model."


def split(module: Module, entry: Entry, path: Path | None) -> dict[int, Module]:
    """The updates of the parts of a fused layer: rows of `up`, with the same `down`.

    Where every column of `up` is zero but in one part (the parts were trained apart and then fused), a part takes its
    own columns, and a part without any has no update.

    Raises:
        LorafoldError: rows that do not divide in the proportions of the layer.
    """
    if len(entry.diffusers) == 1:
        return {0: _swapped(module, entry)}
    heights = _heights(module, entry, path)
    ups = torch.split(module.up, heights)
    biases = [None] * len(ups) if module.bias is None else torch.split(module.bias, heights)
    parts = [replace(module, up=up, bias=bias) for up, bias in zip(ups, biases, strict=True)]
    used = torch.stack([(up != 0).any(dim=0) for up in ups])  # (parts, r)
    if module.bias is not None or not used.any() or (used.sum(dim=0) > 1).any():
        return dict(enumerate(parts))
    pairs = zip(parts, used, strict=True)
    return {j: _columns(part, columns) for j, (part, columns) in enumerate(pairs) if columns.any()}


def fuse(parts: Mapping[int, Module], entry: Entry, path: Path | None) -> Module:
    """The update of a fused layer from those of its parts, of which some may be missing.

    Parts with one `down` and one scale keep it; else `up` becomes block-diagonal and the rank the sum of theirs.

    Raises:
        LorafoldError: parts whose shapes do not belong together.
    """
    first = next(iter(parts.values()))
    if len(entry.diffusers) == 1:
        return _swapped(first, entry)
    unit = _unit(parts, entry, path)
    heights = [share * unit for share in entry.shares]
    if len({part.scale for part in parts.values()}) > 1:
        parts = {j: folded(part) for j, part in parts.items()}
    if all(_same(first.down, part.down) for part in parts.values()) and len({p.scale for p in parts.values()}) == 1:
        zeros = first.up.new_zeros(max(heights), first.rank)
        up = torch.cat([parts[j].up if j in parts else zeros[:height] for j, height in enumerate(heights)])
        return replace(first, up=up)
    ordered = dict(sorted(parts.items()))
    up = _block_diagonal({j: part.up for j, part in ordered.items()}, heights)
    down = torch.cat([part.down for part in ordered.values()])
    return replace(first, up=up, down=down, scale=next(iter(parts.values())).scale)


def _heights(module: Module, entry: Entry, path: Path | None) -> list[int]:
    m, total = module.shape[0], sum(entry.shares)
    if m % total:
        raise LorafoldError(
            f"{m} rows, which do not divide as {_ratio(entry)}", path=path, key=module.name, remedy=_OTHER_MODEL
        )
    return [share * m // total for share in entry.shares]


def _unit(parts: Mapping[int, Module], entry: Entry, path: Path | None) -> int:
    """Rows per share, the same by every part."""
    first = next(iter(parts.values()))
    unit = first.shape[0] // entry.shares[next(iter(parts))]
    for j, part in parts.items():
        if part.shape != (unit * entry.shares[j], first.shape[1]) or part.kernel != first.kernel:
            raise LorafoldError(
                f"ΔW is {' x '.join(map(str, part.shape))}, which does not fit {first.name} ("
                f"{' x '.join(map(str, first.shape))}) in one layer whose rows divide as {_ratio(entry)}",
                path=path,
                key=part.name,
                remedy=_OTHER_MODEL,
            )
    return unit


def _ratio(entry: Entry) -> str:
    return ":".join(map(str, entry.shares))


def _columns(part: Module, used: Tensor) -> Module:
    """The part with the columns of `up`, and rows of `down`, marked in `own` (r,)."""
    return part if used.all() else replace(part, up=part.up[:, used], down=part.down[used])


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def _block_diagonal(ups: Mapping[int, Tensor], heights: list[int]) -> Tensor:
    """(m, Σ r_j): the ups at their rows, each in columns of its own, zeros elsewhere."""
    ranks = {j: up.shape[1] for j, up in ups.items()}
    first = next(iter(ups.values()))
    bands = []
    for j, height in enumerate(heights):
        blocks = [ups[j] if i == j else first.new_zeros(height, rank) for i, rank in ranks.items()]
        bands.append(torch.cat(blocks, dim=1))
    return torch.cat(bands)


def _swapped(module: Module, entry: Entry) -> Module:
    """The two halves of the rows exchanged where the entry says so."""
    m, n = module.shape
    if not entry.halves_swapped or m != 2 * n:
        return module
    bias = None if module.bias is None else module.bias.roll(n)
    return replace(module, up=module.up.roll(n, dims=0), bias=bias)
