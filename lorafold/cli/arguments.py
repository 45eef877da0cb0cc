"""What people type, as Hydra takes it: plain names of files, `--rank 16`, `-o x`, names of any characters.

    a.safetensors 'b (2).safetensors'   adapters=["a.safetensors","b (2).safetensors"]
    --rank 16, --rank=16                rank=16
    --weights 0.7 0.3                   weights=[0.7,0.3]
    --overwrite, --no-page              overwrite=true, page=false
    output=x (1).safetensors, -o ...    output="x (1).safetensors"

Everything else is Hydra's KEY=VALUE and stays as it is, sweeps with it. Free of Hydra.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from glob import glob
from itertools import islice
from pathlib import Path

from lorafold.commands import Command
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.homes import with_home
from lorafold.common.shell import command_line

SWEEP = ("-m", "--multirun")
# Flags of Hydra, and how many words follow each.
_FLAGS = {
    **dict.fromkeys((*SWEEP, "-r", "--run", "-h", "--help", "--hydra-help", "--resolve", "-i", "--info"), 0),
    **dict.fromkeys(("-cd", "--config-dir", "-cp", "--config-path", "-cn", "--config-name"), 1),
    **dict.fromkeys(("-p", "--package", "-c", "--cfg", "--experimental-rerun"), 1),
}
_SHORT = {"-o": "--output"}
_SETTING = re.compile(r"(?P<key>[~+]{0,2}[\w./@-]+)=(?P<value>.*)", re.DOTALL)
# What Hydra makes values of: texts in quotes, null, interpolations, and in sweeps lists and functions.
_HYDRAS = re.compile(r"""["'].*|null||.*\$\{.*""", re.DOTALL)
_SWEPT = re.compile(r".*,.*|(choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.DOTALL)


@dataclass
class _Line:
    """A command line that is being read.

    Args:
        command: whose settings they are.
        name: of the command, for what is told.
        sweep: whether it is one, where values with commas are several runs.
        words: those that are still to be read.
    """

    command: Command
    name: str
    sweep: bool
    words: deque[str]
    flags: list[str] = field(default_factory=list)  # in front, for argparse, which Hydra asks
    files: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.command.config
        self.types = {each.name: str(each.type) for each in fields(config)}
        self.paths = {each.name for each in fields(config) if each.metadata["files"]}
        self.roots = {*self.types, *config.help.choices, "hydra"}

    def read(self) -> list[str]:
        while self.words:
            self._take(self.words.popleft())
        return [*self.flags, *self._plain(), *self.overrides]

    def _take(self, word: str) -> None:
        if word == "--":
            self.files += self.words
            self.words.clear()
        elif word.partition("=")[0] in _FLAGS:
            following = 0 if "=" in word else _FLAGS[word]
            self.flags += [word, *(self.words.popleft() for _ in range(min(following, len(self.words))))]
        elif word.startswith("-") and not _exists(word):
            self._take_flag(_SHORT.get(word, word))
        elif setting := self._setting(word):
            self.overrides.append(f"{setting['key']}={self._value(setting['key'], self._closed(setting['value']))}")
        elif word.startswith("~") and _root(word) in self.roots:
            self.overrides.append(word)  # Hydra's deletion
        else:
            self._check_plain(word)
            self.files += _expanded(word)

    def _closed(self, value: str) -> str:
        """The value with the words behind it that close its brackets: `[0.7, 0.3]` without quotes is two."""
        for count in range(len(self.words) + 1):
            whole = " ".join([value, *islice(self.words, count)])
            if not _is_open(whole):
                for _ in range(count):
                    self.words.popleft()
                return whole
        return value

    def _setting(self, word: str) -> re.Match[str] | None:
        """KEY=VALUE; but what exists is a file or folder, as a sweep's `rank=4`, unless it is one of the settings."""
        match = _SETTING.fullmatch(word)
        return match if match and (_root(match["key"]) in self.roots or not _exists(word)) else None

    def _take_flag(self, word: str) -> None:
        """`--KEY VALUE`, `--KEY=VALUE`, `--KEY` or `--no-KEY` of what is true or false."""
        flag, given, value = word.partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        negated = key.removeprefix("no_")
        if self.types.get(negated) == "bool" and not given and (negated != key or not self._next_is("true", "false")):
            self.overrides.append(f"{negated}={'true' if negated == key else 'false'}")
            return
        if not flag.startswith("--") or _root(key) not in self.roots:
            raise self._unknown_flag(flag)
        values = [value] if given else self._values(flag)
        if key == self.command.files and not values[0].startswith("["):
            self.files += _expanded(values[0])
            return
        text = f"[{','.join(values)}]" if len(values) > 1 else values[0]
        self.overrides.append(f"{key}={self._value(key, text)}")

    def _next_is(self, *words: str) -> bool:
        return bool(self.words) and self.words[0].lower() in words

    def _values(self, flag: str) -> list[str]:
        """The word behind a flag; several of them where they are numbers."""
        if not self.words or self._opens_another(self.words[0]):
            raise LorafoldError(f"{flag} without a value", remedy=f"Write {flag} VALUE, or {flag[2:]}=VALUE.")
        values = [self.words.popleft()]
        while _is_number(values[-1]) and self.words and _is_number(self.words[0]) and not _exists(self.words[0]):
            values.append(self.words.popleft())
        return values

    def _opens_another(self, word: str) -> bool:
        return (word.startswith("-") and not _is_number(word)) or bool(self._setting(word))

    def _unknown_flag(self, flag: str) -> LorafoldError:
        close = suggest(flag.strip("-").replace("-", "_"), [*self.types, *(each.strip("-") for each in _FLAGS)])
        remedy = f"Settings are written KEY=VALUE; lorafold {self.name} --help lists them."
        return LorafoldError(f"unknown flag {flag}", remedy=f"{remedy}{close}")

    def _check_plain(self, word: str) -> None:
        """A word that is no file but looks like a setting is told as one."""
        if not word:
            raise LorafoldError("an empty name among the files", remedy="Is a variable of the shell not set?")
        key, _, value = word.partition(":")
        following = value or next((each for each in self.words if each != "="), "VALUE")
        if not _exists(word) and key in self.roots:
            raise LorafoldError(f"{word!r} is no file", remedy=f"A setting is written KEY=VALUE: {key}={following}.")
        if not _exists(word) and _is_number(word):
            raise LorafoldError(f"{word!r} is no file", remedy="A setting is written KEY=VALUE, such as rank=16.")

    def _plain(self) -> Iterable[str]:
        """The plain words as one override."""
        key = self.command.files
        if not self.files:
            return
        if given := next((each for each in self.overrides if each.startswith(f"{key}=")), None):
            files = [given.partition("=")[2].strip("[]").replace('"', ""), *self.files]
            line = command_line([part.strip(", ]") for part in ",".join(files).split(",") if part.strip(", ]")])
            raise LorafoldError(
                f"{key}= and names without it ({', '.join(self.files)})",
                remedy=f"Write the names alone: lorafold {self.name} {line}.",
            )
        if self.types[key] == "Any":
            yield f"{key}=[{','.join(map(quoted, self.files))}]"
        elif len(self.files) == 1:
            yield f"{key}={quoted(self.files[0])}"
        else:
            raise LorafoldError(f"{len(self.files)} names ({', '.join(self.files)}), expected one {key}")

    def _value(self, key: str, value: str) -> str:
        """The value of a setting; in quotes where it names files and Hydra would read it otherwise."""
        if key not in self.paths or _HYDRAS.fullmatch(value):
            return value
        if _exists(value):
            return quoted(value)
        if value.startswith("["):
            return value if set(value) & {'"', "'"} else re.sub(r"[^\[\],]+", _quoted_name, value)
        return value if _SWEPT.fullmatch(value) and (self.sweep or self.types[key] == "Any") else quoted(value)


def to_overrides(name: str, command: Command, words: Sequence[str]) -> list[str]:
    """What Hydra is given for the words of a command line, flags of its own included.

    Raises:
        LorafoldError: an unknown flag, one without a value, or words that are neither files nor settings.
    """
    return _Line(command, name, bool({*SWEEP} & {*words}), deque(words)).read()


def quoted(text: str) -> str:
    """As one value for Hydra, whatever the characters: nothing in it is an interpolation or a list."""
    escaped = re.sub(r'(\\*)("|$)', lambda match: 2 * match[1] + ('\\"' if match[2] else ""), text)
    return '"' + escaped.replace("${", "\\${") + '"'


def _quoted_name(match: re.Match[str]) -> str:
    name = match[0].strip()
    return name if not name or _HYDRAS.fullmatch(name) else quoted(name)


def _root(key: str) -> str:
    """The setting that `key` is or belongs to: `solver` of `~solver.tol`."""
    return re.split(r"[./@=]", key.lstrip("~+"))[0]


def _expanded(word: str) -> list[str]:
    """The files that it names: where no shell has expanded `*` and `?`, those that match; in front of `~` that is part
    of a name, `./`."""
    if _exists(word, home=False):
        return [_here(word)]
    pattern = word.replace("[", "[[]") if set(word) & {*"*?"} else ""
    files = sorted(glob(str(with_home(pattern)))) if pattern else []  # noqa: PTH207, Path.glob takes no absolute one
    return [_here(file) for file in files] or [word]


def _here(name: str) -> str:
    """A name of something that exists, its tilde no home."""
    return f"./{name}" if name.startswith("~") else name


def _is_open(value: str) -> bool:
    return value[:1] in ("[", "{") and sum(map(value.count, "[{")) > sum(map(value.count, "]}"))


def _exists(name: str, home: bool = True) -> bool:
    with suppress(OSError, ValueError):  # too long a name, no such user
        return Path(name).exists() or (home and with_home(name).exists())
    return False


def _is_number(word: str) -> bool:
    with suppress(ValueError):
        return float(word) is not None
    return False
