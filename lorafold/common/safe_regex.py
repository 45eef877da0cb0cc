"""Regular expressions from files of strangers: how long they can take is known before they are used.

Python's matcher tries one way after the other to lay a pattern over a text, and a pattern of a few characters can have
more ways than a machine has years. They can be counted without trying them.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable
from typing import Any

from lorafold.common.errors import LorafoldError

# Python's own parser of patterns; it has no public name.
_parser: Any = importlib.import_module("re._parser")
# Ways, of all patterns over all texts: some seconds.
_MOST = 1e9
# A name as long as any, for the time before the modules are known.
_LONG_NAME = "x" * 200


def compiled(setting: str, key: Any) -> re.Pattern[str]:
    """The regular expression that is a key of a setting.

    Raises:
        LorafoldError: it is none, or one that can take forever.
    """
    try:
        pattern = re.compile(str(key))
    except (re.error, OverflowError, RecursionError) as error:
        raise LorafoldError(
            f"{setting}[{str(key)!r}] is not a regular expression ({error})",
            remedy="Write a backslash before a special character that is part of the name.",
        ) from error
    if unusable([pattern.pattern], [_LONG_NAME]):
        raise too_slow(setting, pattern.pattern)
    return pattern


def too_slow(setting: str, pattern: str) -> LorafoldError:
    """The refusal of such a pattern."""
    return LorafoldError(f"{setting}[{pattern!r}] could take forever", remedy="Use fewer * and + in one pattern.")


def unusable(patterns: Iterable[str], texts: Iterable[str]) -> str | None:
    """The first pattern that is none, or with which matching all of them could take more than seconds; else None.

    Patterns without repetitions and alternatives are fast, and there may be as many as modules: they do not count.

    Args:
        patterns: regular expressions, to be looked for at any place of a text.
        texts: such as the names of all modules.
    """
    lengths = [len(text) for text in texts]
    longest, total = max(lengths, default=0), 0.0
    for pattern in patterns:
        try:
            re.compile(pattern)
            factor, repeats = _count(_parser.parse(pattern), longest)
        except (re.error, OverflowError, RecursionError):
            return pattern
        if factor > 1 or repeats:
            total += len(lengths) * factor * math.comb(longest + repeats + 1, repeats + 1)  # one more: from any place
        if total > _MOST:
            return pattern
    return None


def ways(pattern: str, length: int) -> float:
    """At most so many ways to lay the pattern over a text of this length, from one place of it.

    k repetitions of single characters, one after the other, divide a text in binomial(length + k, k) ways at most; the
    alternatives of a group add up; a repeated group has as many ways as it has once, to the power of the repetitions. A
    pattern without repetitions and alternatives has one.
    """
    factor, repeats = _count(_parser.parse(pattern), length)
    return factor * math.comb(length + repeats, repeats)


def _count(items: Any, length: int) -> tuple[float, int]:
    """(factor, number of unbounded repetitions in a row) of a sequence."""
    factor, repeats = 1.0, 0
    for operation, argument in items:
        outer, inner = _one(str(operation), argument, length)
        factor, repeats = factor * outer, repeats + inner
    return factor, repeats


def _one(operation: str, argument: Any, length: int) -> tuple[float, int]:
    """The same of one item of a parsed pattern."""
    match operation:
        case "BRANCH":
            return _either([_count(items, length) for items in argument[1]])
        case "GROUPREF_EXISTS":
            return _either([_count(items, length) for items in argument[1:] if items])
        case "SUBPATTERN" | "ASSERT" | "ASSERT_NOT":
            return _count(argument[-1], length)
        case "ATOMIC_GROUP":
            return _count(argument, length)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = argument
            return _repeated(least, most, inner, length)
    return 1.0, 0


def _either(counts: list[tuple[float, int]]) -> tuple[float, int]:
    return sum(factor for factor, _ in counts), max((repeats for _, repeats in counts), default=0)


def _repeated(least: int, most: int, items: Any, length: int) -> tuple[float, int]:
    most = min(int(most), length + least)
    factor, repeats = _count(items, length)
    if most <= 1:
        return factor + (least == 0), repeats
    if factor == 1 and repeats == 0:
        return (1.0, 0) if most == least else (1.0, 1)
    each = factor * math.comb(length + repeats, repeats)
    return (each + 1) ** most if most * math.log10(each + 1) < 300 else math.inf, 0
