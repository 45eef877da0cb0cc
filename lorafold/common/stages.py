"""How a merge tells how far it is: what it sends is what a progress bar shows. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Stage(StrEnum):
    """What goes on once the adapters are read, in the word that a person sees."""

    MERGE = "merging"
    LIFT = "building"
    OTHER_RANK = "ranking"  # which rank would keep an adapter that vanishes at this one


class Learning(StrEnum):
    """What goes on in a distillation, likewise."""

    TARGETS = "running"  # the model with each adapter on its inputs
    STEPS = "learning"


# Called as progress(stage, modules through it, modules in all), from the beginning of a stage, 0, to its end. What
# learns counts steps, and has its loss behind the word.
Progress = Callable[[str, int, int], None]
