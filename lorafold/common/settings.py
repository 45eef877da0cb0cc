"""Settings: fields that carry their own explanation, and how a verb of the library takes them. Free of torch.

What help and docstrings say about a setting is written down at its field alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import Any, TypeVar

from lorafold.common.errors import LorafoldError, suggest

Settings = TypeVar("Settings")

# Headings of help; {name} is that of the command.
GOES_IN = "What goes in (KEY=VALUE; put lists in quotes)"
COMES_OUT = "What comes out, in outputs/{name}/DATE/TIME/"
RUNS = "Where it runs"

# Rank to which LoHa, LoKr, DoRA and full differences are cut when they are read.
INPUT_RANK = 128
BASE_HELP = (
    "the model that they were trained on, file or folder; needed for DoRA, PiSSA and OLoRA, and between GGUF or "
    "torchtune and PEFT"
)
INPUT_RANK_HELP = "to which LoHa, LoKr, DoRA and full weights are cut when read; LoRA is read as it is"
LAYERS_HELP = (
    "those alone with this in their names, as regular expression or with *: attn, text_encoder, 'mlp up', "
    "'layers=[attn,mlp]'; null: all"
)
EXCLUDE_HELP = "those not: 'exclude=[text_encoder,conv]'; null: none"
DEVICE_HELP = "cpu, cuda, cuda:N; auto: a GPU where there is one"
DIFFERENT_BASES_HELP = "true: go on with adapters of different architectures"


def setting(default: Any, text: str, group: str, *, files: bool = False) -> Any:
    """A field of a frozen dataclass.

    Args:
        default: of no mutable type.
        text: what the setting means, for help; a line break starts a new line.
        group: the heading under which help lists it.
        files: whether its value names files or folders, which on the command line may have any characters.
    """
    return field(default=default, metadata={"help": text, "group": group, "files": files})


def part_of(config: Any, kind: type[Settings]) -> Settings:
    """The settings of that kind out of a dataclass that has all their fields."""
    return kind(**{each.name: getattr(config, each.name) for each in fields(kind)})  # type: ignore[arg-type]


def entries(kind: type) -> Mapping[str, tuple[str, str]]:
    """The heading and the text of every field of a dataclass of settings, by name."""
    return {each.name: (each.metadata["group"], each.metadata["help"]) for each in fields(kind)}


def documented(kind: type[Settings]) -> type[Settings]:
    """A decorator: what help says of the fields ends the docstring, where `help` shows it."""
    lines = (f"    {name}: {' '.join(text.split())}" for name, (_, text) in entries(kind).items())
    kind.__doc__ = "\n".join((f"{inspect.getdoc(kind)}\n\nArgs:", *lines))
    return kind


def apply_changes(kind: type[Settings], settings: Settings | None, changes: Mapping[str, Any]) -> Settings:
    """The settings, or their defaults, with the changes made.

    Args:
        kind: the dataclass.
        settings: one of that kind; None: the defaults.
        changes: values by the names of fields.

    Raises:
        LorafoldError: settings of another kind, or a name that is no field.
    """
    if settings is not None and not isinstance(settings, kind):
        raise LorafoldError(
            f"settings of type {type(settings).__name__}, expected {kind.__name__}",
            remedy=f"Write each setting by its name, or lorafold.{kind.__name__}(...).",
        )
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in changes:
        if name not in known:
            listing = f"The settings are {', '.join(known)}."
            raise LorafoldError(f"unknown setting {name!r}", remedy=suggest(name, known).strip() or listing)
    return replace(settings or kind(), **changes)  # type: ignore[type-var]
