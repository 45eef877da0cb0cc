"""Command lines that are more than Hydra's KEY=VALUE: plain names of folders. Free of Hydra."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lorafold.commands import Command

# Flags of Hydra that are followed by a word.
_WITH_VALUE = ("-cd", "--config-dir", "-cp", "--config-path", "-cn", "--config-name", "-p", "--package", "-c", "--cfg")


def with_plain_words(command: Command, arguments: list[str]) -> list[str]:
    """The arguments with plain words as KEY=VALUE, where the command takes such words."""
    if command.words:
        return plain_folders(arguments, command.words)
    match arguments:
        case [word, *rest] if command.word and "=" not in word and not word.startswith("-"):
            return [f"{command.word}={quoted(word)}", *rest]
    return arguments


def plain_folders(arguments: Sequence[str], key: str) -> list[str]:
    """The arguments with the plain ones among them gathered as `key=["a","b"]`.

    Plain is what is neither a flag, nor the value of one, nor KEY=VALUE; and whatever is the name of an existing
    folder: sweeps call theirs `rank=4`, too.
    """
    folders, rest = [], []
    before = ""
    for argument in arguments:
        setting = "=" in argument and not Path(argument).is_dir()
        if setting or argument.startswith("-") or before in _WITH_VALUE:
            rest.append(argument)
        else:
            folders.append(argument)
        before = argument
    return [f"{key}=[{','.join(map(quoted, folders))}]", *rest] if folders else rest


def quoted(text: str) -> str:
    """As one value for Hydra, whatever the characters: nothing in it is an interpolation or a list."""
    escaped = re.sub(r'(\\*)("|$)', lambda match: 2 * match[1] + ('\\"' if match[2] else ""), text)
    return '"' + escaped.replace("${", "\\${") + '"'
