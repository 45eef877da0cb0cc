"""Choices and their options: `conf/<group>/<name>.yaml` is the one place where their defaults live.

Free of torch and of Hydra, so that the library and the command read the same files in the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lorafold.common.errors import LorafoldError, suggest

_HERE = Path(__file__).resolve().parents[1]
# A wheel carries conf/ inside the package; in a checkout, editable or not, it lies beside it.
CONF: Path = next((path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir()), _HERE / "conf")

_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None)}


def choices(group: str) -> list[str]:
    """The names that `choice` accepts for a group ("objective", "manifold", "solver", "core"), sorted."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def choice(group: str, value: str | Mapping[str, Any]) -> dict[str, Any]:
    """The name and all options of a choice; those left out come from `conf/<group>/<name>.yaml`.

    Args:
        group: "objective", "manifold", "solver" or "core".
        value: a name, or a mapping of `name` and any of its options.

    Raises:
        LorafoldError: an unknown name or option.
    """
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise LorafoldError(
            f"{group}={value!r}, expected a name or a mapping with a name",
            remedy=f"Choose one of {', '.join(choices(group))}.",
        )
    defaults = _defaults(group, given["name"])
    for key in given:
        if key not in defaults:
            raise _unknown_option(f"{group}.{key}", key, (name for name in defaults if name != "name"))
    return {**defaults, **given}


def check_options(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as keyword arguments of `function`, checked against the annotations of its keyword-only parameters.

    Args:
        function: annotated with unions of int, float, str, bool and None; other parameters are of no concern.
        options: by name, as `choice` returns them; `name` itself is dropped.

    A whole number serves as a float, and so does the text `1e-6`, which YAML 1.1 does not read as a number.

    Raises:
        LorafoldError: an option that `function` does not take, or a value of another type.
    """
    parameters = inspect.signature(function).parameters.values()
    annotations = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    given = {key: value for key, value in options.items() if key != "name"}
    for key in given:
        if key not in annotations:
            raise _unknown_option(key, key, annotations)
    return {key: _convert(key, value, _kinds(annotations[key])) for key, value in given.items()}


@cache
def _defaults(group: str, name: str) -> dict[str, Any]:
    names = choices(group)
    if name not in names:
        remedy = f"Choose one of {', '.join(names)}.{suggest(name, names)}"
        raise LorafoldError(f"unknown {group} {name!r}", remedy=remedy)
    options: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return options


def _unknown_option(where: str, key: str, known: Iterable[str]) -> LorafoldError:
    names = list(known)
    listing = f"The options are {', '.join(names)}." if names else "It has no options."
    return LorafoldError(f"unknown option {where}", remedy=listing + suggest(key, names))


def _kinds(annotation: Any) -> list[str]:
    """`int | None`, as text or as a type -> ["int", "None"]"""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return [part.strip() for part in text.split("|")]


def _convert(key: str, value: Any, kinds: list[str]) -> Any:
    if any(type(value) is _TYPES[kind] for kind in kinds):  # not isinstance: True is no int here
        return value
    if "float" in kinds and type(value) in (int, str):
        try:
            return float(value)
        except ValueError:
            pass
    expected = " or ".join(_WORDS[kind] for kind in kinds)
    raise LorafoldError(f"{key}={value!r}, expected {expected}")


_WORDS = {"int": "a whole number", "float": "a number", "str": "a word", "bool": "true or false", "None": "null"}
