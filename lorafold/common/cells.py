"""Numbers and words as a cell of a table shows them: a few characters, a dash where nothing is known."""

from __future__ import annotations

from collections.abc import Iterable

UNITS = ("", " k", " M", " G")


def span(values: Iterable[float | None]) -> str:
    """`8`, `4-32`, or a dash where nothing is known."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, high = (f"{value:.4g}" for value in (min(known), max(known)))
    return low if low == high else f"{low}-{high}"


def amount(value: float) -> str:
    """Three digits and a unit: `85.1 M`."""
    for unit in UNITS[:-1]:
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}{UNITS[-1]}"


def printable(text: str, most: int) -> str:
    """One line of a file's own words: nothing that could steer the terminal, and not more than `most` characters."""
    words = "".join(character if character.isprintable() else " " for character in text)
    return words if len(words) <= most else words[: most - 3] + "..."


def number(value: float | None, digits: int) -> str:
    """The number, or a dash as wide as it."""
    return "-".rjust(digits + 2) if value is None else f"{value:.{digits}f}"


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
