"""A message is one printable line of bounded length, whatever a file holds."""

from __future__ import annotations

import pytest

from lorafold.common.errors import LorafoldError


@pytest.mark.parametrize("hostile", ["\x1b[2J", "a\nb", "a\rb", "\x07", "\u202e", "\x9b31m", "\ud800", "\u2028"])
def test_nothing_in_it_moves_the_cursor(hostile: str) -> None:
    message = str(LorafoldError(hostile, path=hostile, key=hostile, remedy=hostile))
    assert message.isprintable() and hostile not in message


def test_long_keys_and_values_show_both_ends() -> None:
    error = LorafoldError("v" * 10**6 + "end", key="begin" + "k" * 10**6 + ".alpha", remedy="Help.")
    assert len(str(error)) < 1300 and error.key is not None and len(error.key) > 10**6
    for part in ("begin", ".alpha: ", "vend. Help."):
        assert part in str(error)


def test_letters_of_all_languages_stay() -> None:
    assert str(LorafoldError("größer als 3 × 4", path="/é/名前.safetensors")) == "/é/名前.safetensors: größer als 3 × 4"
