"""Python and `lorafold` in a process of its own, with this lorafold and captured output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(**changes: str) -> dict[str, str]:
    """Of the tests, in which this lorafold is found first."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def python(*arguments: str, cwd: Path = ROOT, **changes: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` to its end, however long a loaded machine takes."""
    command, env = (sys.executable, *arguments), environment(**changes)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def lorafold(*arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """`python -m lorafold ARGUMENTS`, for 80 columns."""
    return python("-m", "lorafold", *arguments, cwd=cwd, **{"COLUMNS": "80", **changes})
