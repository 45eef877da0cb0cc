"""Layers in or out by name, as `layers=` and `exclude=` say: the one place that knows what their patterns mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.naming.model_parts import kind_of
from lorafold.adapters.naming.paths import COMPONENTS
from lorafold.common.errors import LorafoldError
from lorafold.common.safe_regex import compiled, too_slow, unusable

Part = TypeVar("Part")

_log = logging.getLogger(__name__)

REASON = "selection"  # in records, of what was left out
# A star that repeats neither a dot, a class, a group nor an escape: that of a file name, for any characters.
_STAR = re.compile(r"(?<![.\])}])(?<!\\.)\*")
_WORD = re.compile(r"[a-z]+(?:_[a-z]+)*|\d+", re.IGNORECASE)
_NAMED = 3


@dataclass(frozen=True)
class Selection:
    """The layers in whose names one of the patterns occurs, if there are any, and none of the excluded ones.

    Args:
        layers, exclude: by what the user wrote.
    """

    layers: Mapping[str, re.Pattern[str]]
    exclude: Mapping[str, re.Pattern[str]]

    def left_out(self, layers: Mapping[str, Sequence[str]], path: str | Path | None) -> tuple[str, ...]:
        """Which layers the selection leaves out, as a line on the log says too.

        Args:
            layers: by what to call it, all names that a layer goes by.
            path: of the file, for messages.

        Raises:
            LorafoldError: a pattern that occurs in no name, or nothing left.
        """
        if not (self.layers or self.exclude):
            return ()
        self._check(layers, path)
        left_out = tuple(layer for layer, names in layers.items() if not self._takes(names))
        if len(left_out) == len(layers):
            raise LorafoldError(
                f"{self} leaves none of {len(layers)} layers",
                path=path,
                remedy="Write fewer patterns to exclude, or more layers.",
            )
        if left_out:
            listed = ", ".join(left_out[:_NAMED]) + (", ..." if len(left_out) > _NAMED else "")
            _log.warning("%s leaves out %d of %d layers: %s", self, len(left_out), len(layers), listed)
        return left_out

    def of(self, adapters: Sequence[Adapter]) -> tuple[list[Adapter], tuple[str, ...]]:
        """The adapters without what is left out of them, and that.

        Raises:
            LorafoldError: a pattern that occurs in no name, or an adapter without any layer left.
        """
        own = [list(_layers(adapter)) for adapter in adapters]
        names = {name: _also_called(name) for name in dict.fromkeys(chain.from_iterable(own))}
        left_out = self.left_out(names, adapters[0].path)
        for adapter, layers in zip(adapters, own, strict=True):
            if left_out and set(left_out).issuperset(layers):
                raise LorafoldError(
                    f"{self} leaves none of its {len(layers)} layers", path=adapter.path, remedy="Leave it out."
                )
        rest = frozenset(left_out)
        return [_without(adapter, rest) if rest else adapter for adapter in adapters], left_out

    def _takes(self, names: Sequence[str]) -> bool:
        wanted = not self.layers or _any(self.layers.values(), names)
        return wanted and not _any(self.exclude.values(), names)

    def _check(self, layers: Mapping[str, Sequence[str]], path: str | Path | None) -> None:
        """Raise LorafoldError if a pattern occurs in no name: it is misspelt, or meant for another model."""
        names = list(dict.fromkeys(chain.from_iterable(layers.values())))
        for setting, patterns in (("layers", self.layers), ("exclude", self.exclude)):
            if slow := unusable([pattern.pattern for pattern in patterns.values()], names):
                raise too_slow(setting, slow)
            for given, pattern in patterns.items():
                if not _any([pattern], names):
                    raise LorafoldError(
                        f"{setting}={given} matches none of {len(layers)} layers", path=path, remedy=_near(given, names)
                    )

    def __str__(self) -> str:
        """As it was asked for."""
        both = (("layers", self.layers), ("exclude", self.exclude))
        return " ".join(f"{name}={_listed([*patterns])}" for name, patterns in both if patterns)


def read_selection(layers: Any, exclude: Any) -> Selection:
    """Check what was asked for.

    Args:
        layers: None, or a pattern or several: a part of the name of a layer, of the component that it belongs to
            (unet, transformer, text_encoder) or of its kind (attention q, mlp up, conv). A pattern is a regular
            expression, in which a star that repeats nothing stands for any characters.
        exclude: likewise.

    Raises:
        LorafoldError: anything else, or an expression that can take forever.
    """
    return Selection(_patterns("layers", layers), _patterns("exclude", exclude))


def recorded(left_out: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """The entry of a record's summary; none where nothing was left out."""
    return {"left_out": {REASON: list(left_out)}} if left_out else {}


def _patterns(setting: str, given: Any) -> dict[str, re.Pattern[str]]:
    values = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(values, Sequence) or not all(isinstance(value, str) and value for value in values):
        raise LorafoldError(
            f"{setting}={given!r}, expected a part of layers' names, or a list of such",
            remedy=f"For example {setting}=attn, or '{setting}=[attn,text_encoder]'.",
        )
    return {value: compiled(setting, _as_expression(value)) for value in values}


def _as_expression(pattern: str) -> str:
    """With what stars of file names stand for; at both ends they say nothing."""
    expression = _STAR.sub(".*", pattern)
    while expression.startswith(".*") and not expression.startswith(".*?"):
        expression = expression[2:]
    return expression


def _layers(adapter: Adapter) -> Iterator[str]:
    return chain(adapter.modules, adapter.pending, adapter.deltas, adapter.extras)


def _also_called(name: str) -> tuple[str, ...]:
    """The name, components that its prefix stands for, and the kind of the layer, or of what a tensor is part of."""
    components = next((known for prefix, known in COMPONENTS.items() if name.startswith(prefix)), ())
    kinds = dict.fromkeys(map(kind_of, (name, name.rpartition(".")[0])))
    return name, *components, *(kind for kind in kinds if kind != "other")


def _without(adapter: Adapter, left_out: frozenset[str]) -> Adapter:
    def kept(part: Mapping[str, Part]) -> dict[str, Part]:
        return {name: value for name, value in part.items() if name not in left_out}

    extras = kept(adapter.extras)
    return replace(
        adapter,
        modules=kept(adapter.modules),
        pending=kept(adapter.pending),
        deltas=kept(adapter.deltas),
        extras=extras,
        config=_announcing(adapter.config, extras),
    )


def _announcing(config: Mapping[str, Any], extras: Mapping[str, Any]) -> Mapping[str, Any]:
    """PEFT's configuration without whole modules that are no longer there: PEFT would look for them."""
    saved = config.get("modules_to_save")
    if not isinstance(saved, list):
        return config
    return {**config, "modules_to_save": [name for name in saved if any(f".{name}." in key for key in extras)] or None}


def _any(patterns: Iterable[re.Pattern[str]], names: Sequence[str]) -> bool:
    return any(pattern.search(name) for pattern in patterns for name in names)


def _near(given: str, names: Sequence[str]) -> str:
    """The words of names that are most like it, or what names are like."""
    words = dict.fromkeys(word for name in names for word in (*re.split(r"[. ]", name), *_WORD.findall(name)))
    close = get_close_matches(given, words)
    return f"Names have {', '.join(close)}." if close else f"They are called {names[0]!r}, {names[-1]!r} and the like."


def _listed(patterns: Sequence[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"[{','.join(patterns)}]"
