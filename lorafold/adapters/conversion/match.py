"""Adapters of several formats, or of one format with different names, under the names of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.conversion.convert import (
    Choice,
    between_tools,
    check_holds,
    choose,
    in_format,
    plausible,
    titles,
    unknown_layer,
    usual_style,
)
from lorafold.adapters.conversion.language import FORMATS as LANGUAGE_FORMATS
from lorafold.adapters.conversion.paths import under_paths
from lorafold.adapters.formats.registry import FORMATS
from lorafold.adapters.naming import Naming, namings
from lorafold.common.errors import LorafoldError


def matched(adapters: Sequence[Adapter], base: str | Path | None = None) -> list[Adapter]:
    """The adapters in the format, and with the names, of the first one; exact.

    A layer is the same where a dictionary of its architecture says so, or where its path is, whatever wraps the model
    and whether dots are written as underscores. Other adapters of one format keep their names.

    Args:
        base: folder of the base model, on whose config.json the files of llama.cpp and torchtune depend.

    Raises:
        LorafoldError: another format and a layer without counterpart, or something that the first format cannot hold.
    """
    first, *others = adapters
    return [first, *(_brought(other, first, base) for other in others)]


def _brought(other: Adapter, first: Adapter, base: str | Path | None) -> Adapter:
    if other.format != first.format and {other.format, first.format} & {*LANGUAGE_FORMATS}:
        return _brought(between_tools(other, first.format, base, first), first, base)
    alike, ours, theirs = other.format == first.format, first.modules.keys(), other.modules.keys()
    if ours <= theirs or theirs <= ours:
        return _as_is(other, first)
    mine, named = _namings(first), _namings(other)
    choices = _choices(named, mine, first.format)
    if any(naming.style == style for naming, style in choices):
        return _as_is(other, first)
    by_path = under_paths(other, first)
    if by_path is not None and not _fits_dictionary(other, choices):
        return _as_is(by_path, first)
    if choices:
        return in_format(other, *choose(other, choices), first.format)
    if by_path is not None or alike or not ours.isdisjoint(theirs):
        return _as_is(by_path or other, first)
    raise _no_counterpart(other, first, mine, named)


def _as_is(other: Adapter, first: Adapter) -> Adapter:
    """Under its names, in the format of the first."""
    check_holds(other, first.format)
    return other if other.format == first.format else replace(other, format=first.format, config={})


def _namings(adapter: Adapter) -> list[Naming]:
    """How its names may be spelled; none where shapes or metadata contradict what they say."""
    try:
        return plausible(adapter, namings(adapter.modules))
    except LorafoldError:
        return []


def _choices(theirs: Sequence[Naming], mine: Sequence[Naming], format: str) -> list[Choice]:
    """Namings of the one with styles of the other, for one architecture; its usual style where that fits."""
    choices: list[Choice] = []
    for naming in theirs:
        styles = [want.style for want in mine if want.architecture == naming.architecture]
        usual = usual_style(FORMATS[format].style or "", naming)
        choices += [(naming, style) for style in ([usual] if usual in styles else styles)]
    return choices


def _fits_dictionary(other: Adapter, choices: Sequence[Choice]) -> bool:
    """Whether the dictionaries say one thing."""
    try:
        return bool(choices) and bool(choose(other, choices))
    except LorafoldError:
        return False


def _no_counterpart(other: Adapter, first: Adapter, mine: Sequence[Naming], theirs: Sequence[Naming]) -> LorafoldError:
    """What keeps the two apart: a layer of either that is in no dictionary, or two architectures."""
    for adapter, fitting in ((other, theirs), (first, mine)):
        if not fitting:
            plausible(adapter, namings(adapter.modules))  # raises where something contradicts the names
            return unknown_layer(adapter, f"cannot be matched between {first.format} and {other.format} files")
    return LorafoldError(
        f"a layer of {titles(theirs)}, but {first.path} is for {titles(mine)}",
        path=other.path,
        key=next(iter(other.modules)),
        remedy="Merge adapters of one base model.",
    )
