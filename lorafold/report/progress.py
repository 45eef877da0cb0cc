"""What a person sees while a command runs, on standard error: a progress bar, and warnings above it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Report = Callable[[str, int, int], None]  # (stage, modules done, modules in all)

# What goes on after a stage is reported done; a module is done with the last one.
_NEXT = {"read": "comparing", "gram": "solving", "solve": "building", "lift": "merging"}
_LAST = "lift"


@contextmanager
def progress_bar(wanted: bool = True) -> Iterator[Report | None]:
    """A callback that draws a bar and leaves nothing behind, or None where no one watches: in pipes and log files."""
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield None
        return
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def report(stage: str, done: int, total: int) -> None:
            bar.update(task, description=_NEXT[stage], total=total, completed=done if stage == _LAST else None)

        yield report


class StderrHandler(logging.Handler):
    """Log records on standard error: on the one of the moment, so that a progress bar can make room for them."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"lorafold: {record.levelname.lower()}: {self.format(record)}", file=sys.stderr)
