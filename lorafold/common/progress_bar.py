"""A progress bar, in a terminal on standard error and in a notebook below the cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lorafold.common.stages import Progress


@contextmanager
def progress_bar(wanted: bool = True) -> Iterator[Progress | None]:
    """A callback that draws a bar and leaves nothing behind, or None where no one watches: in pipes and log files."""
    from rich.console import Console  # here, for it draws random numbers
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not (wanted and (console.is_terminal or console.is_jupyter)):
        yield None
        return
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(stage: str, count: int, total: int) -> None:
            bar.update(task, description=stage, total=total, completed=count)

        yield show


@contextmanager
def listening(progress: Progress | bool | None) -> Iterator[Progress]:
    """Whom to tell: the callback; for True a progress bar; else nobody."""
    if progress is True:
        with progress_bar() as bar:
            yield bar or _unheard
    else:
        yield progress or _unheard


def _unheard(stage: str, count: int, total: int) -> None:
    """Where no one asked."""
