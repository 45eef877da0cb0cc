"""Where in a model the layers of adapters are: for every tensor that changes, what is added to which of its rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.adapters.checkpoints.layout import Layout, Rows, Weight
from lorafold.adapters.naming import ARCHITECTURES, STYLES, namings, places
from lorafold.adapters.parametrisations.base_weights import queries, tails_of
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.fuse.updates import Update


@dataclass(frozen=True, eq=False)
class Placed:
    """Some rows of an update, and the rows of a tensor that they are added to.

    Args:
        update: whole.
        weight: the layer that it changes.
        first: the first of its rows that belong here.
        rows: of the tensor.
    """

    update: Update
    weight: Weight
    first: int
    rows: Rows


def places_of(updates: Sequence[Update], layout: Layout) -> Mapping[str, list[Placed]]:
    """By name of the tensor, in the order of the adapters.

    Raises:
        LorafoldError: a layer that the model does not have, or has in another shape.
    """
    by_tensor: dict[str, list[Placed]] = defaultdict(list)
    finders = {id(update.adapter): _Finder(update.adapter, layout) for update in updates}
    for given in updates:
        update, weight = finders[id(given.adapter)].find(given)
        for first, rows in weight.offsets():
            by_tensor[rows.tensor].append(Placed(update, weight, first, rows))
    layout.checkpoint.check_plain(by_tensor)
    return by_tensor


class _Finder:
    """The layers of a model under the names of one adapter."""

    def __init__(self, adapter: Adapter, layout: Layout) -> None:
        self.layout = layout
        self.names = list(chain(adapter.modules, adapter.pending)) or [key.rpartition(".")[0] for key in adapter.deltas]
        self.style = _style(adapter, self.names, layout)
        self.respelled = _respelled(layout, self.style) if self.style else {}
        self.tails = tails_of(layout.layers)

    def find(self, update: Update) -> tuple[Update, Weight]:
        """The layer that an update changes, and the update as a matrix (m, n)."""
        candidates = [(self._turned(update, weight), weight) for weight in self._candidates(update)]
        fitting = [(turned, weight) for turned, weight in candidates if weight.shape == turned.shape]
        if len(fitting) == 1:
            return fitting[0]
        raise self._refusal(update, [weight for _, weight in candidates])

    def _turned(self, update: Update, weight: Weight) -> Update:
        """Whole weights and differences lie as the model's own do; OpenCLIP's have the names of another model."""
        as_stored = self.layout.naming is None or weight.kind == "embedding"
        if weight.transposed and as_stored and isinstance(update.source, Tensor) and update.source.ndim == 2:
            return replace(update, source=update.source.mT)
        return update

    def _candidates(self, update: Update) -> Iterable[Weight]:
        """By the dictionary, by a name that follows its rules, else by the ends of names."""
        if self.style and self.layout.naming:
            place = places(self.layout.naming.architecture, self.style).get(update.name)
            if place:  # else a name that ends alike, of another text encoder, would be taken for it
                weight = self.layout.at(place, update.leaf)
                return [weight] if weight else []
        own = self.respelled.get(update.name, update.name)
        if own in self.layout.layers:
            return self._leaves([own], update)
        for query, whole in queries(update.name):
            names = [name for name in self.tails.get(query, []) if not whole or name.replace(".", "_") == query]
            if weights := self._leaves(names, update):
                return weights
        return []

    def _leaves(self, names: Iterable[str], update: Update) -> list[Weight]:
        layers = (self.layout.layers[name] for name in names)
        return [weights[update.leaf] for weights in layers if update.leaf in weights]

    def _refusal(self, update: Update, candidates: Sequence[Weight]) -> LorafoldError:
        path = self.layout.checkpoint.path
        if not candidates:
            what = "layer of this name" if update.leaf == "weight" else "bias there"
            problem = f"the model {path} has no {what}, so that the adapter cannot be fused whole"
        else:
            shapes = ", ".join(" x ".join(map(str, weight.shape)) for weight in candidates[:3])
            problem = f"{' x '.join(map(str, update.shape))}, but in the model {path} {shapes}"
        return LorafoldError(
            problem,
            path=update.adapter.path,
            key=update.key,
            remedy="Name the model that the adapter was trained on.",
        )


def _style(adapter: Adapter, names: Collection[str], layout: Layout) -> str | None:
    """How the adapter spells the layers of the model's architecture; None where a dictionary does not tell.

    Raises:
        LorafoldError: its names are those of other architectures alone.
    """
    if layout.naming is None:
        return None
    architecture = layout.naming.architecture
    known = {style: sum(name in places(architecture, style) for name in names) for style in STYLES}
    best = max(known, key=lambda style: known[style])
    if known[best] == len(names):
        return best
    others = {naming.architecture for naming in namings(names)} - {architecture}
    if others:
        titles = " or ".join(ARCHITECTURES[other]().title for other in sorted(others))
        raise LorafoldError(
            f"for {titles}, but the model {layout.checkpoint.path} is {ARCHITECTURES[architecture]().title}",
            path=adapter.path,
            remedy="Name the model that the adapter was trained on.",
        )
    return best if known[best] else None


def _respelled(layout: Layout, style: str) -> dict[str, str]:
    """Names of layers without entry in the dictionary -> in the model."""
    spelled = ((layout.respelled(own, style)[0], own) for own in layout.layers if layout.place(own) is None)
    return {name: own for name, own in spelled if name is not None}
