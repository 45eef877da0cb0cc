"""Command lines that a person can paste into the shell of this system."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

# In double quotes neither cmd.exe nor PowerShell (for which “ and ” are quotes, too) finds a meaning in these.
_PLAIN = re.compile(r"""(?:[\w \-+=.,:;/\\~@#&|<>^()\[\]{}?*']*[\w \-+=.,:;/~@#&|<>^()\[\]{}?*'])?""")
_BARE = re.compile(r"[\w\-+=./\\:]+")


def command_line(words: Sequence[str]) -> str | None:
    """The words, quoted for a POSIX shell, or on Windows for both of its shells.

    Returns:
        None where a word holds characters that cannot be seen, which could fool who pastes the line, or on Windows one
        that no quotes protect.
    """
    line = shlex.join(words) if os.name != "nt" else _for_windows(words)
    return line if line is not None and line.isprintable() else None


def _for_windows(words: Sequence[str]) -> str | None:
    if not all(map(_PLAIN.fullmatch, words)):
        return None
    return " ".join(word if _BARE.fullmatch(word) else f'"{word}"' for word in words)
