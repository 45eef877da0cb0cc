"""The one exception for mistakes a user can mend: the command prints its message alone and exits with 1."""

from __future__ import annotations

from pathlib import Path


class LorafoldError(ValueError):
    """What is wrong, where, what was expected, and the remedy.

    Args:
        problem: the offending value and what was expected instead.
        path: the adapter file or folder concerned, if any.
        key: the tensor key or module concerned, if any.
        remedy: what the user can do about it.

    The message reads `PATH: KEY: PROBLEM. REMEDY`, in one line.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | Path | None = None,
        key: str | None = None,
        remedy: str | None = None,
    ) -> None:
        where = "".join(f"{part}: " for part in (path, key) if part is not None)
        what = problem if remedy is None else f"{problem.rstrip('.')}. {remedy}"
        super().__init__(where + what)
        self.path, self.key, self.remedy = path, key, remedy
