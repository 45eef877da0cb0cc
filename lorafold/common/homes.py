"""Paths with `~` in front. Free of torch."""

from __future__ import annotations

from pathlib import Path

from lorafold.common.errors import LorafoldError


def with_home(path: str | Path) -> Path:
    """The path with `~` or `~user` written out.

    Raises:
        LorafoldError: no such user.
    """
    if not str(path).startswith("~"):
        return Path(path)  # ./~x, too, which as a Path would be ~x
    try:
        return Path(path).expanduser()
    except RuntimeError:
        remedy = "Write the whole path, or ./~... for a name that begins with a tilde."
        raise LorafoldError("begins with ~, and there is no such home folder", path=path, remedy=remedy) from None
