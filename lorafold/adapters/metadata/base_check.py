"""Whether adapters are for one base model: two architectures are refused, two checkpoints of one are spoken of."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.metadata.base_model import BaseModel, base_of_layers, contradiction, stack_widths, stated_base
from lorafold.adapters.naming.paths import same_path
from lorafold.common.errors import LorafoldError

_log = logging.getLogger(__name__)
_REMEDY = "Take adapters of one base model, or insist with allow_different_bases=true."
_HASH = "ss_new_sd_model_hash"
_PREDICTION = "modelspec.prediction_type"
# How the names of quantised copies end, and those of files.
_COPY = re.compile(r"([-_](unsloth|bnb|4bit|8bit|gptq|awq))+$|\.(safetensors|ckpt)$")


def check_bases(adapters: Sequence[Adapter], allow: bool = False) -> None:
    """Refuse adapters of different architectures, and warn where checkpoints differ or a file contradicts itself.

    Args:
        adapters: as they were read, in any formats.
        allow: warn of different architectures instead.

    Raises:
        LorafoldError: two of them are for models of different architectures.
    """
    if len(adapters) < 2:
        return
    for adapter in adapters:
        if mismatch := contradiction(adapter):
            _log.warning("%s: %s: the layers decide", _name(adapter, adapters), mismatch)
    bases = {id(adapter): _architecture(adapter) for adapter in adapters}
    for first, other in combinations(adapters, 2):
        if problem := _apart(first, bases[id(first)], other, bases[id(other)], adapters):
            if not allow:
                raise LorafoldError(problem, path=_name(other, adapters), remedy=_REMEDY)
            _log.warning("%s: %s; going on, as allow_different_bases=true", _name(other, adapters), problem)
            return
    _warn_of_checkpoints(adapters)


def warn_of_strangers(adapters: Sequence[Adapter]) -> None:
    """Say which adapters have no layer in common with any other.

    Args:
        adapters: their layers under common names.
    """
    counts = Counter(layer for adapter in adapters for layer in _layers(adapter))
    alone = [adapter for adapter in adapters if all(counts[layer] == 1 for layer in _layers(adapter))]
    if len(adapters) < 2 or not alone:
        return
    if len(alone) == len(adapters):
        alike = _alike(adapters)
        _log.warning(
            "no layer is in more than one of the adapters: each comes from one alone, so that nothing is merged, and a "
            "merge holds them side by side%s",
            f"; but {alike[0]} and {alike[1]} end alike: are they one layer?" if alike else "",
        )
        return
    for adapter in alone:
        _log.warning(
            "%s: no layer in common with the other adapters: a merge holds it beside them", _name(adapter, adapters)
        )


def _alike(adapters: Sequence[Adapter]) -> tuple[str, str] | None:
    """Layers of two adapters, of one shape, whose paths are the same from the first number on."""
    seen: dict[tuple[str, tuple[int, int]], str] = {}
    for adapter in adapters:
        tails = {(_tail(name), module.shape): name for name, module in adapter.modules.items() if _tail(name)}
        if common := next((tail for tail in tails if tail in seen), None):
            return seen[common], tails[common]
        seen |= tails
    return None


def _tail(name: str) -> str:
    match = re.search(r"\d.*", same_path(name))
    return match[0] if match else ""


def _layers(adapter: Adapter) -> set[str]:
    return {*adapter.modules, *adapter.deltas}


def _architecture(adapter: Adapter) -> BaseModel | None:
    """By its layers, which metadata may make more precise; by its metadata where the layers do not tell."""
    stated, inferred = stated_base(adapter), base_of_layers(adapter)
    if not stated or not stated.fits:
        return inferred
    if not inferred:
        return stated
    return stated if stated.fits & inferred.fits else inferred


def _apart(
    first: Adapter, one: BaseModel | None, second: Adapter, two: BaseModel | None, adapters: Sequence[Adapter]
) -> str | None:
    """What each is for, if that differs."""
    if one is None or two is None or not one.fits or not two.fits:
        return None
    widths, others = stack_widths(first), stack_widths(second)
    if one.fits & two.fits and all(others.get(stack, width) == width for stack, width in widths.items()):
        return None
    return f"for {two.name} ({two.evidence}), but {_name(first, adapters)} is for {one.name} ({one.evidence})"


def _warn_of_checkpoints(adapters: Sequence[Adapter]) -> None:
    """One line on the first two that were trained on different weights, as far as they tell."""
    first = adapters[0]
    for other in adapters[1:]:
        if names := _checkpoints(first, other):
            _log.warning(
                "different base weights: %s was trained on %s, %s on %s: a merge may suit neither",
                _name(first, adapters),
                names[0],
                _name(other, adapters),
                names[1],
            )
            return


def _checkpoints(first: Adapter, other: Adapter) -> tuple[str, str] | None:
    """What they say that they were trained on, if it differs."""
    predictions = [adapter.metadata.get(_PREDICTION) for adapter in (first, other)]
    if all(predictions) and predictions[0] != predictions[1]:
        return f"a model that predicts {predictions[0]}", f"one that predicts {predictions[1]}"
    one, two = _statement(first), _statement(other)
    if one and two and _plain(one.name) != _plain(two.name):
        return one.name, two.name
    if (mark := first.metadata.get(_HASH)) and mark == other.metadata.get(_HASH):
        return None
    for name, rival in zip(_named(first), _named(other), strict=True):
        if name and rival and _short(name) != _short(rival):
            return name, rival
    return None


def _statement(adapter: Adapter) -> BaseModel | None:
    return None if contradiction(adapter) else stated_base(adapter)


def _named(adapter: Adapter) -> tuple[str, str]:
    """The checkpoint, as kohya's tools and as PEFT write it down."""
    name = adapter.config.get("base_model_name_or_path")
    return adapter.metadata.get("ss_sd_model_name", ""), name if isinstance(name, str) else ""


def _plain(architecture: str) -> str:
    """How it is spelled differs between tools."""
    return re.sub(r"/lora$|[^a-z0-9]", "", architecture.lower())


def _short(name: str) -> str:
    """A checkpoint's name without where it lies, nor how it is stored."""
    cached = re.search(r"models--[^/\\]+--([^/\\]+)", name)
    last = cached[1] if cached else re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return _COPY.sub("", last.lower())


def _name(adapter: Adapter, adapters: Sequence[Adapter]) -> Path | str:
    """Its path, or which one of the list it is."""
    return adapter.path or f"adapter {[id(one) for one in adapters].index(id(adapter)) + 1}"
