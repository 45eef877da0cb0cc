"""Settings of several runs side by side: which of them differ, and how they read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorafold.common.text import short_names

Settings = Mapping[str, Any]  # by dotted name

# Where a result goes, what is done beside it, and what changes its last digits at most: no part of what was asked for.
_ELSEWHERE = ("output", "page", "evaluator", "tracker", "threads")


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """A choice `{"objective": {"name": "phi", "power": 1}}` as `{"objective": "phi", "objective.power": 1}`."""
    settings: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and "name" in value:
            for name, option in value.items():
                settings[key if name == "name" else f"{key}.{name}"] = option
        else:
            settings[key] = value
    return settings


def differing(runs: Sequence[Settings]) -> list[str]:
    """The settings with more than one value among the runs that have them, in the order in which they are met.

    What follows from a choice, such as the options of an objective, counts only where it differs between runs of the
    same choice.
    """
    keys = dict.fromkeys(key for settings in runs for key in settings if key not in _ELSEWHERE)
    return [key for key in keys if _differs(key, [settings for settings in runs if key in settings])]


def words(key: str, value: Any) -> str:
    """A setting as a cell of a table: `0.7, 0.3`, `dnoun + dmovie`."""
    match value:
        case list() if key == "adapters":
            return " + ".join(short_names([str(path) for path in value]))
        case list():
            return ", ".join(words(key, item) for item in value)
        case str():
            return value
        case float():
            return f"{value:g}"
    return json.dumps(value, default=str)  # null, true, whole numbers, mappings


def order(value: Any) -> float | str | None:
    """By what a column of a table sorts: numbers, lists by their first member, the rest as text."""
    match value:
        case None:
            return None
        case bool():
            return str(value)
        case int() | float():
            return value
        case [first, *_]:
            return order(first)
    return str(value)


def values(key: str, runs: Iterable[Settings]) -> list[str]:
    """The different values of a setting as words, sorted: numbers by size."""
    sizes = {words(key, settings[key]): order(settings[key]) for settings in runs if key in settings}

    def rank(word: str) -> tuple[bool, float, str]:
        size = sizes[word]
        return (True, 0.0, word) if isinstance(size, str) or size is None else (False, size, word)

    return sorted(sizes, key=rank)


def _differs(key: str, runs: Sequence[Settings]) -> bool:
    by_choice: dict[str, set[str]] = {}
    for settings in runs:
        choice = settings.get(key.partition(".")[0]) if "." in key else None
        by_choice.setdefault(_identity(choice), set()).add(_identity(settings[key]))
    return any(len(identities) > 1 for identities in by_choice.values())


def _identity(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
