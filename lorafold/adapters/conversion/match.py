"""Adapters of several formats, or of one format with different names, under the names of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.conversion.convert import check_holds, choose, in_format, unknown_layer
from lorafold.adapters.naming import Naming, namings
from lorafold.common.errors import LorafoldError


def matched(adapters: Sequence[Adapter]) -> list[Adapter]:
    """The adapters in the format, and with the names, of the first one; exact.

    Adapters with names in common keep their names, and so do adapters of one format whose names are spelled alike or
    belong to no known architecture.

    Raises:
        LorafoldError: another format and a layer without counterpart, or something that the first format cannot hold.
    """
    first, *others = adapters
    return [first, *(_brought(other, first) for other in others)]


def _brought(other: Adapter, first: Adapter) -> Adapter:
    alike = other.format == first.format
    if not other.modules.keys().isdisjoint(first.modules):
        check_holds(other, first.format)
        return other if alike else replace(other, format=first.format, config={})
    mine, theirs = namings(first.modules), namings(other.modules)
    pairs = [(naming, want.style) for naming in theirs for want in mine if naming.architecture == want.architecture]
    if alike and (not pairs or any(naming.style == style for naming, style in pairs)):
        return other
    if not pairs:
        raise _no_counterpart(other, first, mine, theirs)
    naming, style = choose(other, pairs)
    return in_format(other, naming, style, first.format)


def _no_counterpart(other: Adapter, first: Adapter, mine: Sequence[Naming], theirs: Sequence[Naming]) -> LorafoldError:
    """What keeps the two apart: a layer of either that is in no dictionary, or two architectures."""
    for adapter, fitting in ((other, theirs), (first, mine)):
        if not fitting:
            return unknown_layer(adapter, f"cannot be matched between {first.format} and {other.format} files")
    return LorafoldError(
        f"a layer of {theirs[0].architecture}, but {first.path} is for {mine[0].architecture}",
        path=other.path,
        key=next(iter(other.modules)),
        remedy="Merge adapters of one base model.",
    )
