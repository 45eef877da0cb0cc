"""Tables as a terminal shows them, where they are printed, and what is said beside them."""

from __future__ import annotations

from pathlib import Path

import rich.console
import rich.table
from rich import box

from lorafold.common.text import amount as amount
from lorafold.common.text import printable as printable
from lorafold.common.text import span as span
from lorafold.console.lines import fitted
from lorafold.pipelines._tables import Table
from lorafold.pipelines._tables import by_part as by_part

SIDES = ("left", "right")


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
