"""The one exception for mistakes a user can mend: the command prints its message alone and exits with 1."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_ALSO = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32"}
# Of a choice that needs an extra, by its name.
NOT_INSTALLED = "needs packages that are not installed. Run pip install 'lorafold[{}]'"
# Characters of a key, and of the rest: names and values come from files, which may hold anything.
_KEY, _PROBLEM = 200, 1000


class LorafoldError(ValueError):
    """What is wrong, where, what was expected, and the remedy.

    Args:
        problem: the offending value and what was expected instead.
        path: the adapter file or folder concerned, if any.
        key: the tensor key or module concerned, if any.
        remedy: what the user can do about it.

    The message reads `PATH: KEY: PROBLEM. REMEDY`, in one line: control characters, with which a file could write to
    the terminal, are escaped, and long keys and values are shortened.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | Path | None = None,
        key: str | None = None,
        remedy: str | None = None,
    ) -> None:
        places = (path, None if key is None else _short(key, _KEY))
        where = "".join(f"{part}: " for part in places if part is not None)
        short = _short(problem, _PROBLEM)
        super().__init__(_plain(where + (short if remedy is None else f"{short.rstrip('.')}. {remedy}")))
        self.path, self.key, self.remedy = path, key, remedy


def _short(text: str, most: int) -> str:
    """Both ends of a text that is too long."""
    return text if len(text) <= most else f"{text[: most - 30]} ... {text[-25:]}"


def _plain(text: str) -> str:
    """The text with everything escaped that is not printable."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def suggest(word: str, words: Iterable[str]) -> str:
    """` Did you mean 'chordal'?` for the closest of the words, or nothing."""
    names = {name.lower(): name for name in words}
    lower = word.lower()
    close = get_close_matches(_ALSO.get(lower, lower), names, n=1)
    return f" Did you mean '{names[close[0]]}'?" if close else ""


def unknown(kind: str, name: Any, names: Iterable[str]) -> LorafoldError:
    """The refusal of a name, with those that there are."""
    listed = list(names)
    return LorafoldError(
        f"unknown {kind} {name!r}", remedy=f"Choose one of {', '.join(listed)}.{suggest(str(name), listed)}"
    )
