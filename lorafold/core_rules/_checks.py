"""Checks of the rules' options, for the `check` of `core_rule`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lorafold.common.errors import LorafoldError


def check_density(*, density: float, **_: Any) -> None:
    """Raise LorafoldError unless density is in (0, 1]."""
    if not 0 < density <= 1:
        raise LorafoldError(
            f"core.density={density!r}, expected a number above 0 and at most 1",
            remedy="It is the fraction that is kept; 1 keeps all.",
        )


def check_word(option: str, value: str, words: Sequence[str]) -> None:
    """Raise LorafoldError unless the value is one of the words."""
    if value not in words:
        raise LorafoldError(f"core.{option}={value!r} is unknown", remedy=f"Choose one of {', '.join(words)}.")
