"""Modules by part of the model, and the numbers of several modules in one cell of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from lorafold.adapters.naming.model_parts import group_of, labels

Metrics = Mapping[str, Any]  # of one module
UNITS = ("", " k", " M", " G")


def by_part(modules: Sequence[Metrics], most: int) -> dict[str, list[Metrics]]:
    """The modules of each part, neighbours together where there are more than `most` parts."""
    groups = [group_of(module["name"]) for module in modules]
    names = labels(groups, most)
    rows: dict[str, list[Metrics]] = {label: [] for label in names.values()}
    for group, module in zip(groups, modules, strict=True):
        rows[names[group]].append(module)
    return rows


def plain_table(first: str, *others: str) -> Table:
    """Without lines; all columns but the first are right-aligned."""
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first)
    for header in others:
        table.add_column(header, justify="right")
    return table


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


SIDES = ("left", "right")


def near(path: str) -> str:
    """As it reads from here, if it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _number(value: float | None, digits: int) -> str:
    """The number, or a dash as wide as it."""
    return "-".rjust(digits + 2) if value is None else f"{value:.{digits}f}"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
