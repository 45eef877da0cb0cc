"""What `lorafold V --help` and `--help-all` say: put together from the fields of the settings, which carry their
explanations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from textwrap import TextWrapper
from typing import Any

from lorafold.common.options import choices
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, entries

# Texts that commands share.
ADAPTERS = "files or folders, hf:user/repository too, by their names alone; demo: the pair that lorafold ships"
ONE_ADAPTER = "file or folder, by its name alone; demo: the first of the pair that lorafold ships"
MODEL = "a whole model: safetensors, or a folder of transformers or diffusers, in shards too"
OUTPUT = "file or folder; null: in the run's folder"
OVERWRITE = "true: replace what is at output, or in the run's folder"
PAGE = "write overlap.html, a page for the browser"
THREADS = "of the CPU; null: as they are, in a sweep shared; another number can change the last digits"

_WIDTH, _COLUMN = 80, 25
_FOR_FEW = ("adapters", "threads", "input_rank", "allow_different_bases", "device")
_FLAGS = {
    "--KEY VALUE, -o FILE": "the same as KEY=VALUE, output=FILE",
    "-m": "one run for every combination of values with commas",
    "--cfg job": "print the settings and stop",
    "-cd DIR -cn NAME": "start from DIR/NAME.yaml",
    "-cd RUN -cn resolved": "repeat a run, RUN being the folder that it left",
    "--hydra-help": "all the others",
}


@dataclass(frozen=True)
class Help:
    """What help says of a command beside its settings.

    Args:
        about: what the command does.
        examples: command lines, each with a comment or none.
        entries: (name, text, heading) of what is on the command line or comes out, but is no setting.
        leaves: what comes out, in sentences.
        choices: settings whose values are listed: they have a folder in `conf/`.
        left_out: flags that the command has no use for.
        first: settings for the screen of help; empty: all but those that few need.
    """

    about: str
    examples: tuple[str, ...]
    entries: tuple[tuple[str, str, str], ...] = ()
    leaves: str = ""
    choices: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    first: tuple[str, ...] = ()


def help_screen(name: str, settings: type, extra: Help) -> str:
    """As much as a screen holds: what the command does, examples, and a line for each of the first settings."""
    defaults = {each.name: each.default for each in fields(settings)}
    texts = {key: text for key, (_, text) in entries(settings).items()} | {key: text for key, text, _ in extra.entries}
    first = extra.first or [key for key in defaults if key not in _FOR_FEW]
    blocks = [
        _filled(f"lorafold {name}: {extra.about}"),
        [f"  lorafold {name}{example}" for example in extra.examples],
        [line for key in first for line in _two_lines(key, defaults.get(key), texts[key])],
        [f"lorafold {name} --help-all: all settings, choices and flags"],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _two_lines(key: str, default: Any, text: str) -> list[str]:
    """A setting with its default, and the beginning of its explanation."""
    shown = f"={str(default).lower()}" if isinstance(default, str | int | float) else ""
    return _filled(text.replace("\n", "; "), f"  {key}{shown} ".ljust(_COLUMN), " " * _COLUMN, max_lines=2)


def help_text(name: str, settings: type, extra: Help) -> str:
    """The template that Hydra prints, 80 columns wide; it replaces $CONFIG."""
    flags = {flag: text for flag, text in _FLAGS.items() if flag not in extra.left_out}
    blocks = [
        _filled(f"lorafold {name}: {extra.about}"),
        [f"  lorafold {name}{example}" for example in extra.examples],
        list(_headings(name, settings, extra)),
        _listing("Choices", {group: ", ".join(choices(group)) for group in extra.choices}) if extra.choices else [],
        _listing("Flags", flags),
        ["Settings", "$CONFIG"],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _headings(name: str, settings: type, extra: Help) -> Iterator[str]:
    """The settings under their headings: what goes in comes first, where it runs last."""
    groups: dict[str, dict[str, str]] = {GOES_IN: {}}
    listed = [*((key, text, group) for key, (group, text) in entries(settings).items()), *extra.entries]
    for key, text, group in sorted(listed, key=lambda entry: entry[0] != "adapters"):
        groups.setdefault(group, {})[key] = text
    groups.setdefault(COMES_OUT, {})
    where = groups.pop(RUNS, {})
    for group, texts in groups.items():
        prose = extra.leaves if group == COMES_OUT else ""
        if texts or prose:
            yield from _listing(group.format(name=name), texts)
            yield from _filled(prose, "  ") if prose else ()
    yield from _listing(RUNS, where) if where else ()


def _listing(title: str, texts: dict[str, str]) -> list[str]:
    return [title, *(line for key, text in texts.items() for line in _entry(key, text))]


def _entry(key: str, text: str) -> Iterator[str]:
    """A name and what it means, beside it; no-break spaces keep together what belongs together."""
    for number, paragraph in enumerate(text.split("\n")):
        yield from _filled(paragraph, f"  {key}".ljust(_COLUMN) if number == 0 else " " * _COLUMN, " " * _COLUMN)


def _filled(text: str, first: str = "", others: str | None = None, max_lines: int | None = None) -> list[str]:
    wrapper = TextWrapper(
        _WIDTH,
        initial_indent=first,
        subsequent_indent=first if others is None else others,
        break_long_words=False,
        break_on_hyphens=False,
        max_lines=max_lines,
        placeholder=" ...",
    )
    return [line.replace("\xa0", " ") for line in wrapper.wrap(text)]
