"""Block weights: factors on an adapter's weight, block by block, as users of LoRA Block Weight know them.

They multiply w_i, so each acts once on ΔW_i and keeps its sign.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lorafold.adapters import Adapter
from lorafold.adapters.metadata.base_model import FLUX, SD1, SD2, SD2_V, SDXL, base_model
from lorafold.adapters.naming import namings
from lorafold.adapters.naming.lbw_blocks import BLOCKS, LAYOUTS, TITLES, block_of, lengths, preset, presets
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.safe_regex import compiled
from lorafold.pipelines.merge.weights import is_finite

_ARCHITECTURES = {SD1: "sd", SD2: "sd", SD2_V: "sd", SDXL: "sdxl", FLUX: "flux"}


# The outermost numbered block, on names with underscores for dots.
_NUMBERED = re.compile(r"(?:^|_)(?:layers?|blocks?|h|blk)_(\d+)(?=_|$)")


@dataclass(frozen=True)
class Model:
    """What gets factors.

    Args:
        names: of all modules, and additive tensors by key.
        modules: the former alone.
        architectures: keys of `BLOCKS`; sd and sdxl where names, which are alike, do not tell; none if unknown.
        adapter: to speak of in errors.
    """

    names: tuple[str, ...]
    modules: tuple[str, ...]
    architectures: tuple[str, ...]
    adapter: Adapter

    def blocks(self) -> dict[str, str | None]:
        """The block of every name."""
        return {name: block_of(name, self.architectures[0]) if self.architectures else None for name in self.names}

    def by_block(self, values: Mapping[str, float], rest: float) -> dict[str, float]:
        """A factor for every name: the block's, `rest` if it is not among the values, 1 outside of the blocks."""
        return {name: 1.0 if block is None else values.get(block, rest) for name, block in self.blocks().items()}

    def check_known(self, what: str) -> None:
        """Raise LorafoldError if the blocks of this model are not known."""
        if not self.architectures:
            raise LorafoldError(
                f"{what}, but its layers are not known to be those of {', '.join(TITLES.values())}",
                path=self.adapter.path,
                key=self.modules[0],
                remedy="For other models give factors by name: 'block_weights={layers.0: 0.5}'.",
            )


@dataclass(frozen=True)
class Preset:
    """A preset's name."""

    name: str

    def factors(self, model: Model) -> dict[str, float]:
        """By name; LorafoldError if this model has no such preset."""
        model.check_known(f"block_weights={self.name!r}")
        architecture = model.architectures[0]
        if self.name not in presets(architecture):
            raise LorafoldError(
                f"block_weights={self.name!r}, which {TITLES[architecture]} does not have",
                path=model.adapter.path,
                remedy=f"Choose one of {', '.join(presets(architecture))}, or give {lengths(architecture)} numbers.",
            )
        return model.by_block(preset(self.name, architecture), 1.0)


@dataclass(frozen=True)
class Numbers:
    """One number per block, of the layout that has so many."""

    values: tuple[float, ...]

    def factors(self, model: Model) -> dict[str, float]:
        """By name; LorafoldError if this model has other blocks."""
        count, layout = len(self.values), LAYOUTS[len(self.values)]
        model.check_known(f"{count} block weights")
        if layout.architecture not in model.architectures:
            own = " or ".join(TITLES[name] for name in model.architectures)
            raise LorafoldError(
                f"{count} block weights are for {TITLES[layout.architecture]}, but this is for {own}",
                path=model.adapter.path,
                remedy=f"Give {' or '.join(map(lengths, model.architectures))} numbers, or a preset.",
            )
        return model.by_block(dict(zip(layout.blocks, self.values, strict=True)), layout.rest)


@dataclass(frozen=True)
class Patterns:
    """Factors by regular expression, for blocks or modules; the first that fits counts."""

    pairs: tuple[tuple[re.Pattern[str], float], ...]

    def factors(self, model: Model) -> dict[str, float]:
        """By name; LorafoldError for an expression that fits nothing."""
        blocks, factors = model.blocks(), dict.fromkeys(model.names, 1.0)
        for pattern, value in reversed(self.pairs):
            fitting = set(_fitting(pattern, blocks, model))
            if fitting.isdisjoint(model.modules):
                known = sorted({block for name in model.modules if (block := blocks[name])})
                raise LorafoldError(
                    f"block_weights[{pattern.pattern!r}] matches none of {len(model.modules)} modules",
                    path=model.adapter.path,
                    remedy=f"Names are like {model.modules[0]!r}, blocks {', '.join(known) or 'unknown'}.",
                )
            factors.update(dict.fromkeys(fitting, value))
        return factors


def _fitting(pattern: re.Pattern[str], blocks: Mapping[str, str | None], model: Model) -> Iterable[str]:
    """Of an expression that matches a whole block's name, what lies in such blocks, else the names that it is in."""
    own = {block for architecture in model.architectures for block in BLOCKS[architecture] if pattern.fullmatch(block)}
    return [name for name, block in blocks.items() if (block in own if own else pattern.search(name))]


@dataclass(frozen=True)
class BlockWeights:
    """What was asked for, per adapter; None: 1 everywhere."""

    choices: tuple[Preset | Numbers | Patterns | None, ...]

    def factors(self, adapters: Sequence[Adapter]) -> dict[str, list[float]]:
        """A factor per adapter for every module, and additive tensor by key; empty where nothing was asked for.

        Args:
            adapters: all with the names of the first.

        Raises:
            LorafoldError: what was asked for does not fit the model, or its blocks are not known.
        """
        if not any(self.choices):
            return {}
        model = _model(adapters)
        ones = dict.fromkeys(model.names, 1.0)
        found = [choice.factors(model) if choice else ones for choice in self.choices]
        return {name: [factors[name] for factors in found] for name in model.names}


def depths(adapters: Sequence[Adapter]) -> dict[str, float | None]:
    """How deep in its model every module, or additive tensor by key, lies: 0 in the first block, 1 in the last.

    Blocks of known image models are those of `BLOCKS`, of which text encoders have none; elsewhere, and in these, the
    numbered blocks of one kind, the last being the highest that an adapter has. None outside of all blocks.
    """
    model = _model(adapters)
    places = {name: _position(name, block, model) for name, block in model.blocks().items()}
    last: dict[str, int] = defaultdict(int)
    for place in filter(None, places.values()):
        last[place[0]] = max(last[place[0]], place[1])
    for architecture in model.architectures[:1]:
        last[architecture] = len(_deep(architecture)) - 1
    return {name: place and place[1] / max(last[place[0]], 1) for name, place in places.items()}


def _position(name: str, block: str | None, model: Model) -> tuple[str, int] | None:
    """The stack of blocks that a module is in, and the number of its block there."""
    if block is not None and block in (order := _deep(model.architectures[0])):
        return model.architectures[0], order.index(block)
    match = _NUMBERED.search(name.replace(".", "_"))
    return (match.string[: match.start(1)], int(match[1])) if match else None


def _deep(architecture: str) -> tuple[str, ...]:
    """The blocks of an image model without its text encoders."""
    return tuple(block for block in BLOCKS[architecture] if block not in ("BASE", "CLIP", "T5"))


def _model(adapters: Sequence[Adapter]) -> Model:
    modules = dict.fromkeys(name for adapter in adapters for name in adapter.modules)
    names = modules | dict.fromkeys(key for adapter in adapters for key in adapter.deltas)
    return Model(tuple(names), tuple(modules), _architectures(adapters, list(modules)), adapters[0])


def _architectures(adapters: Iterable[Adapter], modules: Sequence[str]) -> tuple[str, ...]:
    """As the adapters' metadata or widths say, else those to which all names belong."""
    family = next((guess.family for guess in map(base_model, adapters) if guess and guess.family), None)
    found = [_ARCHITECTURES.get(family)] if family else [naming.architecture for naming in namings(modules)]
    return tuple(name for name in BLOCKS if name in found)


def read_block_weights(given: Any, count: int) -> BlockWeights:
    """Check what was asked for.

    Args:
        given: None, or one of the following for all adapters, or a list of `count` of them (null: 1 everywhere):
            the name of a preset; 12, 17, 20, 26, 57 or 61 finite numbers, or a text of them with commas;
            a mapping from regular expressions to finite numbers. An expression that matches the whole name of a block
            ("OUT0[3-5]") is for these blocks, any other for the modules in whose names it occurs.
        count: of the adapters.

    Raises:
        LorafoldError: anything else.
    """
    alike = isinstance(given, Sequence) and bool(given) and all(map(is_finite, given))
    if given is None or isinstance(given, str | Mapping) or alike:
        return BlockWeights((_choice(given),) * count)
    if not isinstance(given, Sequence) or len(given) != count:
        raise LorafoldError(
            f"block_weights={given!r}, expected a preset, a list of numbers or a mapping, or {count} of these",
            remedy=f"For example 'block_weights=[{','.join(['null'] * (count - 1) + ['OUTALL'])}]', one per adapter.",
        )
    return BlockWeights(tuple(map(_choice, given)))


def _choice(given: Any) -> Preset | Numbers | Patterns | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return Patterns(tuple((compiled("block_weights", key), _factor(key, value)) for key, value in given.items()))
    if isinstance(given, str) and "," not in given:
        return _preset(given)
    return _numbers(given)


def _preset(name: str) -> Preset:
    if name not in presets():
        remedy = f"Choose one of {', '.join(presets())}, or give numbers.{suggest(name, presets())}"
        raise LorafoldError(f"block_weights={name!r} is unknown", remedy=remedy)
    return Preset(name)


def _numbers(given: Any) -> Numbers:
    try:
        values = [float(part) for part in given.split(",")] if isinstance(given, str) else list(given)
    except (TypeError, ValueError):
        values = []
    if len(values) not in LAYOUTS or not all(map(is_finite, values)):
        raise LorafoldError(
            f"block_weights={given!r}, expected a preset, a mapping, or a finite number per block",
            remedy=f"Give {', '.join(f'{lengths(name)} for {title}' for name, title in TITLES.items())}.",
        )
    return Numbers(tuple(map(float, values)))


def _factor(key: Any, value: Any) -> float:
    if not is_finite(value):
        raise LorafoldError(f"block_weights[{str(key)!r}]={value!r}, expected a finite number", remedy="For example 1.")
    return float(value)
