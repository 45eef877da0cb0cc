"""Choices and their options: the defaults of ours live in `conf/<group>/<name>.yaml`, of others' in their signatures.

Free of torch and of Hydra, so that the library and the command read the same files in the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lorafold.common.errors import LorafoldError, suggest, unknown
from lorafold.common.registry import located

_HERE = Path(__file__).resolve().parents[1]
# A wheel carries conf/ inside the package; in a checkout, editable or not, it lies beside it.
CONF: Path = next((path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir()), _HERE / "conf")

_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None)}


Defaults = Callable[[str], Mapping[str, Any]]


def choices(group: str) -> list[str]:
    """The names of a group ("objective", "manifold", "solver", "core", "method") that have a file, sorted."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def choice(
    group: str, value: str | Mapping[str, Any], others: Collection[str] = (), defaults: Defaults = lambda name: {}
) -> dict[str, Any]:
    """The name and all options of a choice; those left out come from `conf/<group>/<name>.yaml`.

    Args:
        group: "objective", "manifold", "solver" or "core".
        value: a name, or a mapping of `name` and any of its options. What lies in a file at hand is named with the
            full path in the result, so that it means the same elsewhere.
        others: names that need no file, a registry.
        defaults: the options of one of those, by its name.

    Raises:
        LorafoldError: an unknown name or option.
    """
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise LorafoldError(
            f"{group}={value!r}, expected a name or a mapping with a name",
            remedy=f"Choose one of {', '.join(sorted({*choices(group), *others}))}.",
        )
    given = {key: located(option) for key, option in given.items()}
    name = given["name"]
    if name in choices(group):
        options = _file(group, name)
    elif name in others:
        options = {"name": name, **defaults(name)} | {"name": name}
    else:
        raise unknown(group, name, sorted({*choices(group), *others}))
    for key in given:
        if key not in options:
            raise _unknown_option(f"{group}.{key}", key, (option for option in options if option != "name"))
    return {**options, **given}


def signature_defaults(function: Callable[..., Any], supplied: Collection[str] = ()) -> dict[str, Any]:
    """The defaults of a function's options, which are its keyword-only parameters.

    Args:
        supplied: the parameters that are no options, for the caller fills them in.

    Raises:
        LorafoldError: an option without a default.
    """
    options = {name: parameter for name, parameter in _keywords(function).items() if name not in supplied}
    for name, parameter in options.items():
        if parameter.default is parameter.empty:
            function_name = getattr(function, "__name__", repr(function))
            remedy = "Write one into the signature."
            raise LorafoldError(f"the option {name!r} of {function_name} has no default", remedy=remedy)
    return {name: parameter.default for name, parameter in options.items()}


def _keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: parameter for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}


def check_options(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as keyword arguments of `function`, checked against the annotations of its keyword-only parameters.

    Args:
        function: annotated with unions of int, float, str, bool and None; other parameters are of no concern.
        options: by name, as `choice` returns them; `name` itself is dropped.

    A whole number serves as a float, and so does the text `1e-6`, which YAML 1.1 does not read as a number.

    Raises:
        LorafoldError: an option that `function` does not take, or a value of another type.
    """
    parameters = _keywords(function)
    given = {key: value for key, value in options.items() if key != "name"}
    for key in given:
        if key not in parameters:
            raise _unknown_option(key, key, parameters)
    return {key: _convert(key, value, _kinds(parameters[key])) for key, value in given.items()}


@cache
def _file(group: str, name: str) -> dict[str, Any]:
    options: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return options


def _unknown_option(where: str, key: str, options: Iterable[str]) -> LorafoldError:
    names = list(options)
    listing = f"The options are {', '.join(names)}." if names else "It has no options."
    return LorafoldError(f"unknown option {where}", remedy=listing + suggest(key, names))


def _kinds(parameter: inspect.Parameter) -> list[str]:
    """`int | None`, as text or as a type -> ["int", "None"]; without an annotation, the type of the default."""
    annotation = type(parameter.default) if parameter.annotation is parameter.empty else parameter.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    kinds = ["None" if part.strip() == "NoneType" else part.strip() for part in text.split("|")]
    for kind in kinds:
        if kind not in _TYPES:
            remedy = "Use unions of int, float, str, bool and None."
            raise LorafoldError(f"the option {parameter.name!r} has the annotation {kind}", remedy=remedy)
    return kinds


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
