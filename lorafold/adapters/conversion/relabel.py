"""An adapter from one naming to another of the same architecture: new names, and layers fused or split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.conversion.fuse import fuse, split
from lorafold.adapters.module import Module
from lorafold.adapters.naming import STYLES, Entry, Naming, Place, name_of, places
from lorafold.common.errors import LorafoldError


def relabelled(adapter: Adapter, source: Naming, style: str) -> Adapter:
    """The same updates under the names of `style`; exact.

    Args:
        adapter: with all names in `source`.
        source: its naming.
        style: the one wanted; key of `STYLES`.

    Raises:
        LorafoldError: a name without counterpart, or a layer that cannot be split or fused.
    """
    table = places(source.architecture, source.style)
    layers: dict[tuple[str, Entry], dict[int | None, Module]] = {}  # in the order of the file
    for name, module in adapter.modules.items():
        place = table[name]
        layers.setdefault((place.component, place.entry), {})[place.part] = module
    modules: dict[str, Module] = {}
    for (component, entry), parts in layers.items():
        for part, module in _laid_out(adapter, entry, parts, style).items():
            name = _name(adapter, source, style, Place(component, entry, part), module.name)
            modules[name] = replace(module, name=name)
    return replace(adapter, modules=modules, deltas=_deltas(adapter, source, style))


def targets(names: Iterable[str], source: Naming, style: str) -> tuple[str | None, ...]:
    """The names that the layers of `names` have in `style`, in order; None where one has none."""
    table = places(source.architecture, source.style)
    renamed: dict[str | None, None] = {}
    for name in names:
        place = table[name]
        for part in _counterparts(place, style):
            renamed[name_of(source.architecture, style, replace(place, part=part))] = None
    return tuple(renamed)


def _counterparts(place: Place, style: str) -> list[int | None]:
    if STYLES[style].original:
        return [None]
    return [*range(len(place.entry.diffusers))] if place.part is None else [place.part]


def _laid_out(
    adapter: Adapter, entry: Entry, parts: Mapping[int | None, Module], style: str
) -> dict[int | None, Module]:
    """The layer as the style has it: whole under None, or its parts by number."""
    whole = parts.get(None)
    if STYLES[style].original:
        if whole is not None:
            return {None: whole}
        return {None: fuse({j: part for j, part in parts.items() if j is not None}, entry, adapter.path)}
    return dict(parts) if whole is None else {j: part for j, part in split(whole, entry, adapter.path).items()}


def _deltas(adapter: Adapter, source: Naming, style: str) -> dict[str, Tensor]:
    """Additive tensors under the new names of their layers."""
    renamed = {}
    for key, delta in adapter.deltas.items():
        name, _, suffix = key.rpartition(".")
        place = places(source.architecture, source.style).get(name)
        crossing = STYLES[source.style].original != STYLES[style].original
        if place is None or (crossing and (len(place.entry.diffusers) > 1 or place.entry.halves_swapped)):
            raise LorafoldError(
                f"no counterpart in the names of {style}",
                path=adapter.path,
                key=key,
                remedy="Remove this tensor, or keep the adapter's format.",
            )
        part = None if STYLES[style].original else place.part or 0
        renamed[f"{_name(adapter, source, style, replace(place, part=part), name)}.{suffix}"] = delta
    return renamed


def _name(adapter: Adapter, source: Naming, style: str, place: Place, old: str) -> str:
    name = name_of(source.architecture, style, place)
    if name is None:
        raise LorafoldError(
            f"the names of {style} have none for {place.component}",
            path=adapter.path,
            key=old,
            remedy="Convert to diffusers or kohya, which name every model of a pipeline.",
        )
    return name
