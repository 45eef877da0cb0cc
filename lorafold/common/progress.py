"""How far a merge is: what it tells, and the progress bar that shows it. Free of torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic


class Stage(StrEnum):
    """What goes on once the adapters are read, in the word that a person sees."""

    MERGE = "merging"
    LIFT = "building"
    EXTRACT = "extracting"
    FUSE = "fusing"
    OTHER_RANK = "ranking"  # which rank would keep an adapter that vanishes at this one


class ModelStage(StrEnum):
    """What goes on while a model runs, on inputs and not on modules, likewise."""

    CALIBRATE = "measuring"
    TARGETS = "running"  # the model with each adapter on its inputs
    STEPS = "learning"


# Called as progress(stage, modules through it, modules in all), from the beginning of a stage, 0, to its end. What
# learns counts steps, and has its loss behind the word.
Progress = Callable[[str, int, int], None]


# Seconds of a run until its first line where there is no bar, and from line to line.
_QUIET, _EVERY = 10.0, 5.0


def progress_lines(write: Callable[[str], object], clock: Callable[[], float] = monotonic) -> Progress:
    """A callback for pipes and log files: after ten seconds a line now and then, of a short run none."""
    start = clock()
    due = start + _QUIET

    def tell(stage: str, count: int, total: int) -> None:
        nonlocal due
        if (now := clock()) >= due:
            due = now + _EVERY
            write(f"{stage} {count}/{total} after {now - start:.0f} s")

    return tell


@contextmanager
def progress_bar(wanted: bool = True) -> Iterator[Progress | None]:
    """A callback that draws a bar and leaves nothing behind; in pipes and log files `progress_lines`.

    None unless it is wanted.
    """
    if not wanted:
        yield None
        return
    from rich.console import Console  # here, for it draws random numbers
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield progress_lines(lambda line: print(line, file=sys.stderr, flush=True))
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
