"""Tables as a terminal shows them, where they are printed, and what is said beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.console
import rich.table
from rich import box

from lorafold.common.text import amount as amount
from lorafold.common.text import printable as printable
from lorafold.common.text import span as span
from lorafold.console.lines import fitted
from lorafold.pipelines._tables import Table, by_part

Metrics = Mapping[str, Any]  # of one module
SIDES = ("left", "right")
_MOST_PARTS = 12
_LITTLE = 1e-4  # a share of which no digits are told


class Console(rich.console.Console):
    """One that leaves it to the program how to end where the reader of a pipe has left."""

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError that is being handled


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print it beside a table."""
    console.print(fitted(text, console.file), style=style, markup=False, soft_wrap=True)


def plain_table(first: str, *others: str) -> rich.table.Table:
    """Without lines; all columns but the first are right-aligned."""
    table = rich.table.Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first)
    for header in others:
        table.add_column(header, justify="right")
    return table


def table_of_parts(
    heads: Sequence[str], modules: Sequence[Metrics], cells: Callable[[Sequence[Metrics]], Sequence[str]]
) -> rich.table.Table:
    """A row for each part of the model, of a dozen at most, and one for all of it; `cells` of several modules."""
    table = plain_table(*heads)
    for label, members in by_part(modules, _MOST_PARTS).items():
        table.add_row(label, *cells(members))
    table.add_section()
    table.add_row("total", *cells(modules), style="bold")
    return table


def percent(value: float | None) -> str:
    """Three digits, and no more than that it is little where it is; a dash where it is not known."""
    if value is None or 0 < value < _LITTLE:
        return "-" if value is None else "<0.01 %"
    return f"{100 * value:.3g} %"


def drawn(table: Table) -> rich.table.Table:
    """Without lines, the total in bold."""
    result = plain_table(*table.headers)
    for column in table.left:
        result.columns[column].justify = "left"
    for row in table.rows:
        result.add_row(*row)
    if table.total:
        result.add_section()
        result.add_row(*table.total, style="bold")
    return result


def relative_to_cwd(path: str) -> str:
    """As it reads from here, if it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
