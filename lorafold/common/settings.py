"""Fields of settings that carry their own explanation: what help says about them is written down here alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

T = TypeVar("T")

# Headings of help.
GOES_IN = "What goes in"
COMES_OUT = "What comes out"
RUNS = "Where it runs"

BASE = "weights of the model that they were trained on, file or folder; needed for DoRA only"
INPUT_RANK_HELP = "to which LoHa, LoKr, DoRA and full weights are cut when read; LoRA is read as it is"
DIFFERENT_BASES = "true: go on with adapters of different architectures"


def setting(default: Any, text: str, group: str) -> Any:
    """A field of a frozen dataclass.

    Args:
        default: of no mutable type.
        text: what the setting means, for help; a line break starts a new line.
        group: the heading under which help lists it.
    """
    return field(default=default, metadata={"help": text, "group": group})


def part_of(config: Any, kind: type[T]) -> T:
    """The settings of that kind out of a dataclass that has all their fields."""
    return kind(**{each.name: getattr(config, each.name) for each in fields(kind)})  # type: ignore[arg-type]


def entries(kind: type) -> Mapping[str, tuple[str, str]]:
    """The heading and the text of every field of a dataclass of settings, by name."""
    return {each.name: (each.metadata["group"], each.metadata["help"]) for each in fields(kind)}
