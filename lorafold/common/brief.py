"""Values that hold tensors, in one line: what stands at the prompt, in a notebook, or in a log. Free of torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass
from typing import Any

_LONGEST = 180  # characters


def brief(value: Any) -> str:
    """A dataclass by its fields: tensors by dtype and shape, collections by their size."""
    parts = (f"{field.name}={_part(getattr(value, field.name))}" for field in fields(value))
    return f"{type(value).__name__}({shortened(', '.join(parts), _LONGEST)})"


def shortened(text: str, most: int = 80) -> str:
    """The text, or so many characters from both its ends."""
    return text if len(text) <= most else f"{text[: most // 2 - 2]}...{text[len(text) - most // 2 + 1 :]}"


def _part(value: Any) -> str:
    if hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')}{[*value.shape]}"
    if is_dataclass(value):
        return f"{type(value).__name__}(...)"
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return f"<{len(value)} entries>"
    return shortened(repr(value), 60)
