"""How the tools spell the name of a layer, and the dictionaries from their spellings to the layers.

Underscores for dots cannot be undone by rule ("to_out_0", "proj_in"), so a name is looked up in a dictionary of all
names that an architecture has in a style.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from lorafold.adapters.naming._architecture import Architecture, Component, Entry
from lorafold.adapters.naming._known import ARCHITECTURES


@dataclass(frozen=True)
class Style:
    """A way to spell names.

    Args:
        prefix: key of `Component.prefixes`.
        original: whether layers are those of the original code, not those of diffusers.
        dotted: whether dots stay dots instead of becoming underscores.
    """

    prefix: str
    original: bool
    dotted: bool


STYLES: dict[str, Style] = {
    "diffusers": Style("diffusers", original=False, dotted=True),
    "kohya": Style("kohya", original=True, dotted=False),
    "kohya-diffusers": Style("kohya", original=False, dotted=False),
    "onetrainer": Style("onetrainer", original=False, dotted=False),
    "lycoris": Style("lycoris", original=False, dotted=False),
    "comfyui": Style("comfyui", original=True, dotted=True),
    "comfyui-diffusers": Style("comfyui", original=False, dotted=True),
    "peft": Style("peft", original=False, dotted=True),
    "bare": Style("peft", original=True, dotted=True),
}


@dataclass(frozen=True)
class Place:
    """Where a name points.

    Args:
        component: name of the model.
        entry: the layer.
        part: which of the layers of diffusers, or None for the whole layer of the original code.
    """

    component: str
    entry: Entry
    part: int | None


@cache
def places(architecture: str, style: str) -> Mapping[str, Place]:
    """Every name that the architecture has in the style; of two components' equal names, the first one's."""
    places: dict[str, Place] = {}
    for component in ARCHITECTURES[architecture]().components:
        for entry in component.entries:
            for part in _parts(entry, STYLES[style]):
                name = spell(component, entry, part, STYLES[style])
                if name is not None:
                    places.setdefault(name, Place(component.name, entry, part))
    return places


def name_of(architecture: str, style: str, place: Place) -> str | None:
    """The name of `place` in the style, or None where the style has no name for that component."""
    return spell(_component(ARCHITECTURES[architecture](), place.component), place.entry, place.part, STYLES[style])


def canonical(architecture: str, style: str, name: str) -> tuple[str, ...]:
    """The canonical names of the layer `name`: several where the original code fuses what diffusers keeps apart."""
    place = places(architecture, style)[name]
    component = _component(ARCHITECTURES[architecture](), place.component)
    paths = place.entry.diffusers if place.part is None else (place.entry.diffusers[place.part],)
    return tuple(component.prefixes["diffusers"] + path for path in paths)


def spell(component: Component, entry: Entry, part: int | None, style: Style) -> str | None:
    """The name of the layer, or of its part, in the style."""
    if style.prefix not in component.prefixes:
        return None
    path = entry.original if part is None else entry.diffusers[part]
    return component.prefixes[style.prefix] + (path if style.dotted else path.replace(".", "_"))


def _component(architecture: Architecture, name: str) -> Component:
    return next(component for component in architecture.components if component.name == name)


def _parts(entry: Entry, style: Style) -> list[int | None]:
    return [None] if style.original else [*range(len(entry.diffusers))]
