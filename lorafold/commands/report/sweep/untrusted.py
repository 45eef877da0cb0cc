"""Values out of files that anybody may have written: of the type that is asked for, or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_LARGEST = 1e100  # so that sums and charts stay finite
_DEEPEST = 20  # lists and mappings inside each other
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(ValueError):
    """A file that is not there as a whole, or not what its name says."""


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file.

    Raises:
        Unreadable: it is none, for example because the disk was full.
    """
    try:
        return _object(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path.name} cannot be read: {_one_line(error)}") from error


def read_yaml(path: Path) -> Mapping[str, Any]:
    """The mapping in a YAML file; empty if there is none."""
    try:
        return mapping(yaml.load(path.read_text(encoding="utf-8"), _YAML))  # a safe loader, in C where there is one
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}


def number(value: Any) -> float | None:
    """A number that may have been measured, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= _LARGEST else None  # NaN is not, either


def numbers(value: Any) -> tuple[float | None, ...]:
    """The members of a list of numbers; empty if it is none."""
    return tuple(number(item) for item in value) if isinstance(value, list) else ()


def mapping(value: Any) -> Mapping[str, Any]:
    """The mapping, its keys as text; empty if it is none."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list; empty if it is none."""
    return [mapping(item) for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """The texts in a list; empty if it is none."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def shallow(value: Any, depth: int = 0) -> bool:
    """Whether lists and mappings lie inside each other no deeper than in any file of ours."""
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return depth < _DEEPEST and all(shallow(member, depth + 1) for member in members)


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    return mapping(value)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
