"""Short names of adapters, as different as they have to be."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SUFFIX = re.compile(r"(?:[/\\]adapter_model)?\.(?:safetensors|bin|pt)$", re.IGNORECASE)


def short_names(paths: Sequence[str | None]) -> list[str]:
    """The last part of each path, or as many parts from its end as tell it from the others; of Windows paths too.

    An adapter without a path, and each of several with the same path, is named by its number.
    """
    parts = [re.split(r"[/\\]+", _SUFFIX.sub("", path or "").rstrip("/\\")) for path in paths]
    return [_shortest(own, number, parts) for number, own in enumerate(parts)]


def _shortest(own: list[str], number: int, all_parts: list[list[str]]) -> str:
    others = [parts for index, parts in enumerate(all_parts) if index != number]
    for length in range(1, len(own) + 1):
        if own[-length] and all(parts[-length:] != own[-length:] for parts in others):
            return "/".join(own[-length:])
    return " ".join(filter(None, (own[-1], f"adapter {number + 1}")))
