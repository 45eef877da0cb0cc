"""Which architecture a set of names belongs to, and how they are spelled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lorafold.adapters.naming._known import ARCHITECTURES
from lorafold.adapters.naming._styles import STYLES, places


@dataclass(frozen=True)
class Naming:
    """An architecture and a style, by name."""

    architecture: str
    style: str


def namings(names: Collection[str]) -> list[Naming]:
    """Every naming in which all of `names` are known; more than one if they are few or common."""
    return [naming for naming in _all() if all(name in places(naming.architecture, naming.style) for name in names)]


def nearest(names: Collection[str]) -> tuple[Naming, list[str]]:
    """The naming that knows most of `names`, and the names that it does not know."""
    unknown = {
        naming: [name for name in names if name not in places(naming.architecture, naming.style)] for naming in _all()
    }
    best = min(unknown, key=lambda naming: len(unknown[naming]))
    return best, unknown[best]


def hinted(naming: Naming, widths: Mapping[str, int]) -> bool:
    """Whether the inputs of the layers, by name, are as many as this architecture's.

    Architectures share names but differ in width: a file with a few layers of the middle block may belong to SD and
    to SDXL.
    """
    tail, widths_of_inputs = ARCHITECTURES[naming.architecture]().hint
    table = places(naming.architecture, naming.style)
    measured = [n for name, n in widths.items() if tail and table[name].entry.diffusers[0].endswith(tail)]
    return any(n in widths_of_inputs for n in measured)


def _all() -> Iterable[Naming]:
    return (Naming(architecture, style) for architecture in ARCHITECTURES for style in STYLES)
