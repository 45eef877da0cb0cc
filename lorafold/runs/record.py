"""What a run writes down about itself, so that it can be read by a machine and repeated by a person."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from lorafold._version import __version__
from lorafold.adapters.files.atomic import write_text
from lorafold.common.shell import command_line
from lorafold.runs.run import Run

_PACKAGES = ("torch", "geoopt", "safetensors", "numpy", "hydra-core")

_HEADER = """\
# Every setting of a run of `lorafold {command}`, resolved. To repeat it:
#
#     {line}
"""
_NO_LINE = "python -m lorafold COMMAND -cd FOLDER -cn resolved, from another place: no shell takes the name of this one"
_OUTPUT = "#\n# output is left open, so that a repetition writes into its own folder{wrote}.\n"


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine and command line: what the numbers of a run may depend on beside its settings."""
    return {
        "lorafold": __version__,
        "git": _git(Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "command_line": sys.orig_argv,
    }


def opening(command: str, run: Run, config: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """What the record of every command begins with: what was asked for, and where it ran."""
    return {
        "command": command,
        "config": dict(config),
        "environment": {**environment(device), "overrides": list(run.overrides)},
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain JSON in one step: the file is there as a whole or not at all."""
    parts = (f"{_json(str(key))}: {_json_lines(value)}" for key, value in _plain(content).items())
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def write_resolved(path: Path, command: str, config: Mapping[str, Any]) -> None:
    """Write the settings as a Hydra config of its own, independent of later changes to `conf/`.

    The group files are not in its defaults: a repetition takes the options from here.
    """
    words = ("python", "-m", "lorafold", command, "-cd", str(path.parent), "-cn", "resolved")
    header = _HEADER.format(command=command, line=command_line(words) or _NO_LINE)
    content = {"defaults": [f"{command}_schema", "runtime", "_self_"], **config}
    if "output" in config:
        content["output"] = None
        header += _OUTPUT.format(wrote=f"; this run wrote {config['output']}" if config["output"] else "")
    write_text(path, header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent)


def _json_lines(value: Any) -> str:
    """A list with an entry per line, such as one per module; anything else spread out."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(f" {_json(entry)}" for entry in value) + "\n]"
    return _json(value, indent=1)


def _plain(value: Any) -> Any:
    """The value in JSON's types; what is no finite number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(root: Path) -> dict[str, Any] | None:
    """The commit of a checkout, and whether files differ from it; None for an installed package."""
    if not (root / ".git").exists():
        return None
    try:
        sha = _git_says(root, "rev-parse", "HEAD").strip()
        return {"sha": sha, "dirty": bool(_git_says(root, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git_says(root: Path, *arguments: str) -> str:
    command = ("git", "-C", str(root), *arguments)
    said = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", errors="replace", timeout=10)
    return said.stdout
