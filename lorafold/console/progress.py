"""What a person sees while a command runs, on standard error: a progress bar, and warnings above it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from lorafold.common.stages import Progress, Stage
from lorafold.console.lines import fitted


@contextmanager
def progress_bar(wanted: bool = True) -> Iterator[Progress | None]:
    """A callback that draws a bar and leaves nothing behind, or None where no one watches: in pipes and log files."""
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield None
        return
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(stage: Stage, count: int, total: int) -> None:
            bar.update(task, description=stage, total=total, completed=count)

        yield show


class StderrHandler(logging.Handler):
    """Log records on standard error: on the one of the moment, so that a progress bar can make room for them."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"lorafold: {record.levelname.lower()}: {self.format(record)}"
        print(fitted(text, sys.stderr), file=sys.stderr)
