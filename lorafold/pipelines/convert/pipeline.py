"""The conversion: file -> adapter -> the same updates in another format, and what became of each layer.

The work is done by `lorafold.adapters.conversion.convert`; here is what a user wants to know of it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from lorafold.adapters import FORMATS, Adapter, Module, save
from lorafold.adapters.conversion.convert import convert as convert_adapter
from lorafold.adapters.conversion.language import in_transformers
from lorafold.adapters.conversion.servers import TARGETS, for_vllm
from lorafold.adapters.metadata.header import merged_metadata
from lorafold.adapters.naming import Naming, namings, places
from lorafold.adapters.selection import read_selection, recorded
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.peak_memory import peak_rss_mb
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.layers.line_up import load_all
from lorafold.pipelines._metrics import Json, input_entry, read_from
from lorafold.pipelines._tables import data_frame
from lorafold.pipelines.convert.settings import ConvertOptions, ConvertSettings

ACTIONS = ("kept", "renamed", "split", "fused")


@dataclass(frozen=True)
class Link:
    """Layers of the input, by name, and what holds their updates in the output."""

    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def action(self) -> str:
        """One of `ACTIONS`."""
        if self.before == self.after:
            return "kept"
        return "fused" if len(self.before) > len(self.after) else "split" if len(self.after) > 1 else "renamed"


@dataclass(frozen=True)
class ConvertResult:
    """The adapter in its new format, and what it was."""

    adapter: Adapter
    source: Adapter
    settings: ConvertSettings
    links: tuple[Link, ...]
    seconds: dict[str, float]
    left_out: tuple[str, ...] = ()

    def metrics(self) -> dict[str, Any]:
        """Everything that changed, as plain JSON: inputs, summary, and an entry per layer."""
        energies = [_energy(adapter.modules.values()) for adapter in (self.source, self.adapter)]
        counts = Counter(link.action for link in self.links)
        return {
            "inputs": [input_entry(self.source, energies[0])],
            "summary": {
                "modules": [len(self.source.modules), len(self.adapter.modules)],
                "actions": {action: counts[action] for action in ACTIONS},
                "norm": [math.sqrt(energy) for energy in energies],
                **recorded(self.left_out),
                "seconds": dict(self.seconds),
                "peak_rss_mb": peak_rss_mb(),
            },
            "modules": [_entry(link, self.source.modules, self.adapter.modules) for link in self.links],
        }

    def save(self, path: str | Path) -> Path:
        """Write the adapter, but not over the one that it was: see `lorafold.save`."""
        return save(self.adapter, path, forbid=read_from([self.source], self.settings.base))

    def to_pandas(self) -> Any:
        """A data frame with a row per layer: what became of it, and its names before and after."""
        return data_frame(
            {"action": link.action, "before": " + ".join(link.before), "after": " + ".join(link.after)}
            for link in self.links
        )

    def __repr__(self) -> str:
        """One line: formats and modules, before and after."""
        formats, modules = f"{self.source.format} -> {self.adapter.format}", len(self.source.modules)
        return f"ConvertResult({formats}, {modules} -> {len(self.adapter.modules)} modules)"


def convert(
    adapter: str | Path | Adapter, settings: ConvertSettings | None = None, **changes: Unpack[ConvertOptions]
) -> ConvertResult:
    """Rewrite an adapter in another format, every update exactly as it is.

    Layers that one format fuses and the other splits are split and fused by blocks, not approximated.

    Args:
        adapter: a file, a folder or an adapter in memory.
        settings: all settings at once; None: the defaults.
        changes: single settings by name, e.g. format="diffusers". `help(lorafold.ConvertSettings)` lists them.

    Raises:
        LorafoldError: an unknown format or architecture, something that the format cannot hold, or a bad file.
    """
    chosen = apply_changes(ConvertSettings, settings, changes)
    form = check_convert(chosen)
    clock = Stopwatch()
    with clock("read"):
        selection = read_selection(chosen.layers, chosen.exclude)
        (source,), left_out = selection.of(load_all([adapter], chosen.base, chosen.input_rank))
    with clock("convert"):
        converted = convert_adapter(source, form, chosen.base, chosen.model)
        converted = for_vllm(converted) if chosen.target == "vllm" else converted
        modules = converted.modules.values()
        ranks, alphas = [module.rank for module in modules], [module.rank * module.scale for module in modules]
        metadata = merged_metadata([source], [1.0], ranks, alphas, form)
    links = trace(source, converted)
    converted = replace(converted, metadata=metadata)
    return ConvertResult(converted, source, chosen, links, dict(clock.seconds), left_out)


def check_convert(settings: ConvertSettings) -> str:
    """The format; that of the target if none is named.

    Raises:
        LorafoldError: none, or an unknown one, or an unknown target; patterns that are none.
    """
    read_selection(settings.layers, settings.exclude)
    if settings.target is not None:
        if settings.target not in TARGETS or settings.format not in (None, TARGETS[settings.target]):
            raise LorafoldError(
                f"target={settings.target} with format={settings.format}, expected target={' or '.join(TARGETS)} alone",
                remedy=f"Write format={settings.target}." if settings.target in FORMATS else "For example target=vllm.",
            )
        return TARGETS[settings.target]
    if settings.format is None or settings.format not in FORMATS:
        raise LorafoldError(
            f"format={settings.format}, expected one of {', '.join(FORMATS)}",
            remedy=f"For example format=diffusers.{suggest(str(settings.format), FORMATS)}",
        )
    return FORMATS[settings.format].name


def trace(before: Adapter, after: Adapter) -> tuple[Link, ...]:
    """Which layers became which, in the order of the input; parts of a layer in the order of its rows."""
    old, new = (_layers(adapter, other) for adapter, other in ((before, after), (after, before)))
    return tuple(Link(tuple(old.get(layer, ())), tuple(new.get(layer, ()))) for layer in {**old, **new})


def _layers(adapter: Adapter, other: Adapter) -> dict[Any, list[str]]:
    """The names for each layer of the original code; names of an unknown model stand for themselves."""
    names = list(adapter.modules)
    naming = _shared(names, list(other.modules))
    if naming is None:
        return {in_transformers(name, adapter.format): [name] for name in names}
    table = places(naming.architecture, naming.style)
    layers: dict[Any, list[str]] = defaultdict(list)
    for name in names:
        layers[table[name].component, table[name].entry.original].append(name)
    return {layer: sorted(parts, key=lambda name: table[name].part or 0) for layer, parts in layers.items()}


def _shared(names: Sequence[str], others: Sequence[str]) -> Naming | None:
    """How the names are spelled, in an architecture that knows the others too."""
    theirs = {naming.architecture for naming in namings(others)}
    return next((naming for naming in namings(names) if naming.architecture in theirs), None)


def _entry(link: Link, old: Mapping[str, Module], new: Mapping[str, Module]) -> Json:
    return {
        "action": link.action,
        "before": [{"name": name, "shape": list(old[name].shape), "rank": old[name].rank} for name in link.before],
        "after": [{"name": name, "shape": list(new[name].shape), "rank": new[name].rank} for name in link.after],
    }


def _energy(modules: Iterable[Module]) -> float:
    """Σ‖ΔW‖², from Gram matrices."""
    return math.fsum(
        float(((m.up.double().mT @ m.up.double()) * (m.down.double() @ m.down.double().mT)).sum()) * m.scale**2
        for m in modules
    )
