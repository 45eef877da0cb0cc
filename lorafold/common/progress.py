"""How far a merge is: what it tells, and the progress bar that shows it. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class Stage(StrEnum):
    """What goes on once the adapters are read, in the word that a person sees."""

    MERGE = "merging"
    LIFT = "building"
    OTHER_RANK = "ranking"  # which rank would keep an adapter that vanishes at this one


class ModelStage(StrEnum):
    """What goes on while a model runs, on inputs and not on modules, likewise."""

    CALIBRATE = "measuring"
    TARGETS = "running"  # the model with each adapter on its inputs
    STEPS = "learning"


# Called as progress(stage, modules through it, modules in all), from the beginning of a stage, 0, to its end. What
# learns counts steps, and has its loss behind the word.
Progress = Callable[[str, int, int], None]


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
