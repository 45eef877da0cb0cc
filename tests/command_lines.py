"""Python and `lorafold` in a process of its own, with this lorafold and captured output."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.forks import Forks

ROOT = Path(__file__).parents[1]


class Ended(Protocol):
    """A command that has ended."""

    @property
    def returncode(self) -> int:
        """Its exit status."""

    @property
    def stdout(self) -> str:
        """What it wrote."""

    @property
    def stderr(self) -> str:
        """What it had to say beside."""


def environment(**changes: str) -> dict[str, str]:
    """Of the tests, in which this lorafold is found first."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def python(*arguments: str, cwd: Path = ROOT, **changes: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` to its end, however long a loaded machine takes."""
    command, env = (sys.executable, *arguments), environment(**changes)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def lorafold(*arguments: str, cwd: Path, **changes: str) -> Ended:
    """`lorafold ARGUMENTS`, for 80 columns; where the system can fork, at the price of a fork."""
    env = {"COLUMNS": "80", **changes}
    if not hasattr(os, "fork"):
        return new_process(*arguments, cwd=cwd, **env)
    return warm().piped(*arguments, cwd=cwd, **env)


def new_process(*arguments: str, cwd: Path, **changes: str) -> Ended:
    """`python -m lorafold ARGUMENTS`, for what begins, forks or ends otherwise in a process that is not new."""
    return python("-m", "lorafold", *arguments, cwd=cwd, **{"COLUMNS": "80", **changes})


@cache
def warm() -> Forks:
    """The process of this session that becomes one command after the other, and ends with it."""
    from tests.forks import Forks

    server = Forks()
    atexit.register(server.close)
    return server


def refused(process: Ended) -> str:
    """What the one line says with which a mistake ends."""
    assert (process.returncode, process.stdout) == (1, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith("lorafold: error: ")
    return line.removeprefix("lorafold: error: ")
