"""How a merge tells how far it is: what it sends is what a progress bar shows. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class Stage(StrEnum):
    """What goes on once the adapters are read, in the word that a person sees."""

    MERGE = "merging"
    LIFT = "building"
    OTHER_RANK = "ranking"  # which rank would keep an adapter that vanishes at this one


# Called as progress(stage, modules through it, modules in all), from the beginning of a stage, 0, to its end.
Progress = Callable[[Stage, int, int], None]


@contextmanager
def listening(progress: Progress | bool | None) -> Iterator[Progress]:
    """Whom to tell: the callback; for True a progress bar; else nobody."""
    if progress is True:
        from lorafold.common.progress_bar import progress_bar  # rich is imported where a bar is wanted

        with progress_bar() as bar:
            yield bar or _unheard
    else:
        yield progress or _unheard


def _unheard(stage: Stage, count: int, total: int) -> None:
    """Where no one asked."""
