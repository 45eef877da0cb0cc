"""Which architecture a set of names belongs to, and how they are spelled."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from lorafold.adapters.naming._known import ARCHITECTURES
from lorafold.adapters.naming._styles import STYLES, Place, places

# Of a transformer; text encoders have one depth for all.
_BLOCK = re.compile(r"(\w*blocks|layers)\.(\d+)\.")


@dataclass(frozen=True)
class Naming:
    """An architecture and a style, by name."""

    architecture: str
    style: str


def namings(names: Collection[str]) -> list[Naming]:
    """Every naming in which all of `names` are known; more than one if they are few or common."""
    first = next(iter(names), "")
    return [
        naming
        for naming in _all()
        if _begins(first, naming) and all(name in places(naming.architecture, naming.style) for name in names)
    ]


def nearest(names: Collection[str]) -> tuple[list[Naming], list[str]]:
    """The namings that know most of `names`, and the names that the first of them does not know."""
    unknown = {
        naming: [name for name in names if name not in places(naming.architecture, naming.style)] for naming in _all()
    }
    fewest = min(map(len, unknown.values()))
    best = [naming for naming, missing in unknown.items() if len(missing) == fewest]
    return best, unknown[best[0]]


def has_width(naming: Naming, shapes: Mapping[str, tuple[int, int]]) -> bool:
    """Whether a layer, of these shapes by name, has as many inputs as it has in a published model.

    Architectures share names but differ in width: a file with a few layers of the middle block may belong to SD and
    to SDXL.
    """
    known, table = ARCHITECTURES[naming.architecture]().widths, places(naming.architecture, naming.style)
    return any(
        shape[1] in widths
        for name, shape in shapes.items()
        for end, widths in known.items()
        if f".{table[name].entry.diffusers[table[name].part or 0]}".endswith(end)
    )


def has_proportions(naming: Naming, shapes: Mapping[str, tuple[int, int]]) -> bool:
    """Whether no layer, of these shapes by name, contradicts the architecture by its outputs to inputs."""
    known, table = ARCHITECTURES[naming.architecture]().proportions, places(naming.architecture, naming.style)
    return all(
        m * ratio[1] == n * ratio[0]
        for name, (m, n) in shapes.items()
        for end, ratio in known.items()
        if table[name].entry.original.endswith(end) and (table[name].part is None or len(table[name].entry.shares) == 1)
    )


def has_whole_depth(naming: Naming, names: Iterable[str]) -> bool:
    """Whether the last of the architecture's blocks is among the names: few adapters stop at one before."""
    present, last = _depths(places(naming.architecture, naming.style), names), _last_blocks(naming)
    return any(last.get(stack, 0) == number > 0 for stack, number in present.items())


@cache
def _last_blocks(naming: Naming) -> Mapping[str, int]:
    table = places(naming.architecture, naming.style)
    return _depths(table, table)


def _depths(table: Mapping[str, Place], names: Iterable[str]) -> dict[str, int]:
    """The highest number of a block, by what is in front of it."""
    found: dict[str, int] = {}
    for name in names:
        if match := _BLOCK.match(table[name].entry.diffusers[0]):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]))
    return found


def _begins(name: str, naming: Naming) -> bool:
    """Whether a name begins as those of the naming do, which is known without building its table."""
    key = STYLES[naming.style].prefix
    prefixes = (part.prefixes.get(key) for part in ARCHITECTURES[naming.architecture]().components)
    return any(prefix is not None and name.startswith(prefix) for prefix in prefixes)


def _all() -> Iterable[Naming]:
    return (Naming(architecture, style) for architecture in ARCHITECTURES for style in STYLES)
