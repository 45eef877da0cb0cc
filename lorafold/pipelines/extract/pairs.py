"""Which layers of two models are the same one, and what an adapter calls it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from lorafold.adapters.checkpoints.layout import Layout, Weight
from lorafold.adapters.naming import ARCHITECTURES, STYLES, Place, name_of
from lorafold.adapters.naming.model_parts import kind_of
from lorafold.adapters.naming.paths import same_path
from lorafold.adapters.selection import Selection
from lorafold.common.errors import LorafoldError


@dataclass(frozen=True)
class Pair:
    """One layer's weight, or bias, in both models.

    Args:
        name: of the layer in an adapter; None where adapters of the format have no name for it.
        own: its name in the base.
        leaf: "weight" or "bias".
        base, tuned: where it lies.
        component: the model of a pipeline that it is part of.
    """

    name: str | None
    own: str
    leaf: str
    base: Weight
    tuned: Weight
    component: str = ""

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.own}.{self.leaf}"

    @property
    def names(self) -> tuple[str, ...]:
        """All that the layer goes by, where it is selected by name."""
        return self.label, self.component, kind_of(self.own), *([self.name] if self.name else [])

    @property
    def is_vector(self) -> bool:
        """Whether it is a bias, or the weight of a norm."""
        return self.base.kind == "vector"


@dataclass(frozen=True)
class Pairs:
    """All that two models have in common, and the names of the layers that only one of them has."""

    layers: tuple[Pair, ...]
    alone: tuple[str, ...]

    def selected(self, selection: Selection, path: Path) -> tuple[Pairs, tuple[str, ...]]:
        """Those that the selection takes, and the labels of the others; `path` for messages."""
        left_out = selection.left_out({pair.label: pair.names for pair in self.layers}, path)
        others = frozenset(left_out)
        return replace(self, layers=tuple(pair for pair in self.layers if pair.label not in others)), left_out


def pair_up(base: Layout, tuned: Layout, style: str | None) -> Pairs:
    """The layers of both models.

    Args:
        style: of the names in the adapter, whose layers are those of the original code or of diffusers; None: the
            models' own names.

    Raises:
        LorafoldError: models of two architectures, or without a layer in common.
    """
    _check_alike(base, tuned)
    if base.naming is None or style is None:
        layers, alone = _by_path(base, tuned)
    else:
        layers, alone = _by_place(base, tuned, style)
    if not layers or len(alone) > len(layers):
        raise LorafoldError(
            f"{len(layers)} layers are in both models and {len(alone)} in one alone, such as {', '.join(alone[:2])}",
            path=tuned.checkpoint.path,
            remedy=f"Name a model that was trained from {base.checkpoint.path}.",
        )
    return Pairs(tuple(layers), tuple(alone))


def _check_alike(base: Layout, tuned: Layout) -> None:
    titles = [ARCHITECTURES[one.naming.architecture]().title if one.naming else None for one in (base, tuned)]
    if titles[0] != titles[1]:
        raise LorafoldError(
            f"{titles[1] or 'no image model that lorafold knows'}, but the base is {titles[0] or 'none'}",
            path=tuned.checkpoint.path,
            remedy=f"Name a model that was trained from {base.checkpoint.path}.",
        )


def _by_path(base: Layout, tuned: Layout) -> tuple[list[Pair], list[str]]:
    """Under the names of the base; what wraps the model may differ."""
    theirs = dict(zip(tuned.layers, tuned.layers, strict=True))
    if not theirs.keys() & base.layers.keys():
        counts = Counter(map(same_path, chain(set(tuned.layers), set(base.layers))))
        theirs = {path: name for name in tuned.layers if counts[path := same_path(name)] == 2}
    layers, alone, met = [], [], set()
    for name in base.layers:
        other = theirs.get(name) or theirs.get(same_path(name))
        if other is None:
            alone.append(name)
            continue
        met.add(other)
        layers += list(_leaves(name, name, base, tuned, other))
    return layers, alone + [name for name in tuned.layers if name not in met]


def _leaves(name: str | None, own: str, base: Layout, tuned: Layout, other: str, component: str = "") -> Iterator[Pair]:
    ours, theirs = base.layers[own], tuned.layers[other]
    yield from (Pair(name, own, leaf, ours[leaf], theirs[leaf], component) for leaf in ours if leaf in theirs)


def _by_place(base: Layout, tuned: Layout, style: str) -> tuple[list[Pair], list[str]]:
    """Layers that the dictionary knows, in the shape of the style, then the others by their own names."""
    assert base.naming is not None and tuned.naming is not None
    layers, alone = [], []
    for place in _places(base, tuned, style):
        own = ".".join((place.component, place.entry.original))
        both = {leaf: (base.at(place, leaf), tuned.at(place, leaf)) for leaf in ("weight", "bias")}
        name = name_of(base.naming.architecture, style, place)
        layers += [Pair(name, own, leaf, *two, place.component) for leaf, two in both.items() if all(two)]  # type: ignore[arg-type]
        alone += [own] if None in both["weight"] else []
    if base.naming.style != tuned.naming.style:
        return layers, alone
    for own in base.layers:
        if base.place(own) is None and own in tuned.layers:
            name, component = base.respelled(own, style)
            layers += list(_leaves(name, own, base, tuned, own, component))
    return layers, alone


def _places(base: Layout, tuned: Layout, style: str) -> Iterator[Place]:
    for component, entry in dict.fromkeys((*base.known(), *tuned.known())):
        parts: Sequence[int | None] = [None] if STYLES[style].original else range(len(entry.diffusers))
        yield from (Place(component, entry, part) for part in parts)
