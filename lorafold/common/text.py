"""Numbers, names and values in few characters: cells of tables, short names of adapters, values at the prompt.

Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields, is_dataclass
from math import fsum
from typing import Any

UNITS = ("", " k", " M", " G")


def span(values: Iterable[float | None]) -> str:
    """`8`, `4-32`, or a dash where nothing is known."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    low, high = (f"{value:.4g}" for value in (min(numbers), max(numbers)))
    return low if low == high else f"{low}-{high}"


def amount(value: float) -> str:
    """Three digits and a unit: `85.1 M`."""
    for unit in UNITS[:-1]:
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}{UNITS[-1]}"


def two_digits(value: float) -> str:
    """Two digits, and no exponent for large numbers: `0.0034`, `99`, `2366`."""
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.2g}"


def printable(text: str, most: int | None = None) -> str:
    """One line of a file's own words: nothing that could steer the terminal, and not more than `most` characters."""
    words = "".join(character if character.isprintable() else " " for character in text)
    return words if most is None or len(words) <= most else words[: most - 3] + "..."


def number(value: float | None, digits: int) -> str:
    """The number, or a dash as wide as it."""
    return "-".rjust(digits + 2) if value is None else f"{value:.{digits}f}"


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; None without any."""
    numbers = [value for value in values if value is not None]
    return fsum(numbers) / len(numbers) if numbers else None


_SUFFIX = re.compile(r"(?:[/\\]adapter_model)?\.(?:safetensors|bin|pt)$", re.IGNORECASE)


def short_names(paths: Sequence[str | None]) -> list[str]:
    """The last part of each path, or as many parts from its end as tell it from the others; of Windows paths too.

    An adapter without a path, and each of several with the same path, is named by its number.
    """
    parts = [re.split(r"[/\\]+", _SUFFIX.sub("", path or "").rstrip("/\\")) for path in paths]
    return [_shortest(path, number, parts) for number, path in enumerate(parts)]


def _shortest(path: list[str], number: int, all_parts: list[list[str]]) -> str:
    other_paths = [parts for index, parts in enumerate(all_parts) if index != number]
    for length in range(1, len(path) + 1):
        if path[-length] and all(parts[-length:] != path[-length:] for parts in other_paths):
            return "/".join(path[-length:])
    return " ".join(filter(None, (path[-1], f"adapter {number + 1}")))


_LONGEST = 180  # characters


def brief(value: Any) -> str:
    """A dataclass by its fields: tensors by dtype and shape, collections by their size."""
    parts = (f"{field.name}={_part(getattr(value, field.name))}" for field in fields(value))
    return f"{type(value).__name__}({shortened(', '.join(parts), _LONGEST)})"


def shortened(text: str, most: int = 80) -> str:
    """The text, or so many characters from both its ends."""
    return text if len(text) <= most else f"{text[: most // 2 - 2]}...{text[len(text) - most // 2 + 1 :]}"


def _part(value: Any) -> str:
    if hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')}{[*value.shape]}"
    if is_dataclass(value):
        return f"{type(value).__name__}(...)"
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return f"<{len(value)} entries>"
    return shortened(repr(value), 60)
