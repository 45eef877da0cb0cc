"""The command line that runs a run again: exactly, from its `resolved.yaml`, or else from what was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorafold.commands.report.sweep.untrusted import mapping, texts
from lorafold.common.shell import command_line

_PROGRAM = ("python", "-m", "lorafold")


def repeat_command(folder: Path, metrics: Mapping[str, Any]) -> str | None:
    """For the shell of this system; None where it would not be safe or not be complete.

    Every word is quoted: what it is made of may come from a stranger.
    """
    command = metrics.get("command")
    if not isinstance(command, str) or not re.fullmatch("[a-z]+", command):
        return None
    asked = mapping(metrics.get("environment")).get("overrides")
    if (folder / "resolved.yaml").is_file():
        arguments = ["-cd", str(folder), "-cn", "resolved"]
    elif isinstance(asked, list):
        arguments = texts(asked)
    else:
        return None
    return command_line([*_PROGRAM, command, *arguments])
