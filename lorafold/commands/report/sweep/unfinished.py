"""Runs that began and left no result: what became of them. And jobs of a sweep that never began."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from lorafold.commands.report.sweep.untrusted import mapping, number, read_yaml, texts
from lorafold.runs.folders import ERROR

_LOG_LINE = re.compile(r"\[\d{4}-[^\]]*\]\[[^\]]*\]\[([A-Z]+)\] - (.*)", re.DOTALL)
_TAIL = 16_384  # bytes of a log or an error


def command_of(folder: Path) -> str:
    """What began there; unknown if nothing says so."""
    return str(_job(folder).get("name") or "unknown")


def asked_for(folder: Path) -> str:
    """The settings on the command line of a run."""
    return " ".join(_overrides(folder))


def error_left(folder: Path) -> str | None:
    """The error that ended a run, or None: it is under way, or was killed."""
    return _error_file(folder) or _logged_error(folder)


def not_begun(sweep: Path) -> list[str]:
    """The settings of the jobs of a sweep that left no folder at all; empty where they cannot be counted."""
    jobs = _jobs(read_yaml(sweep / "multirun.yaml"))
    folders = [path.parent for path in sweep.rglob(".hydra")]
    if len(folders) >= len(jobs):
        return []
    begun = {number(_job(folder).get("num")) for folder in folders}
    return [" ".join(job) for index, job in enumerate(jobs) if index not in begun]


def _job(folder: Path) -> Mapping[str, Any]:
    return mapping(mapping(read_yaml(folder / ".hydra" / "hydra.yaml").get("hydra")).get("job"))


def _jobs(multirun: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Every combination, in the order of Hydra's own sweeper; none for another one, which chooses as it goes."""
    hydra = mapping(multirun.get("hydra"))
    sweeper = mapping(hydra.get("sweeper"))
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        return []
    task = texts(mapping(hydra.get("overrides")).get("task"))
    asked = [f"{key}={value}" for key, value in mapping(sweeper.get("params")).items()] + task
    by_key = {key: value for key, _, value in (override.partition("=") for override in asked)}  # the last one counts
    lists = [[f"{key}={value}" for value in _alternatives(text)] for key, text in by_key.items()]
    return [] if any(_generated(text) for text in by_key.values()) else list(product(*lists))


def _generated(text: str) -> bool:
    """Whether it is one of Hydra's functions, such as range(1,4), and not values with commas."""
    return re.match(r"\w+\(", text) is not None


def _alternatives(text: str) -> list[str]:
    """`[1,2],[3,4]` as `[1,2]` and `[3,4]`: split at commas outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _overrides(folder: Path) -> list[str]:
    recorded = mapping(mapping(read_yaml(folder / ".hydra" / "hydra.yaml").get("hydra")).get("overrides"))
    return texts(recorded.get("task"))


def _error_file(folder: Path) -> str | None:
    """The last line of `error.txt`, which a failed run of a sweep leaves: what a traceback ends with."""
    lines = _tail(folder / ERROR).split("\n") if (folder / ERROR).is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason given" if lines else None)


def _logged_error(folder: Path) -> str | None:
    """The last error in the logs of a run."""
    lines = (line for log in sorted(folder.glob("*.log")) for line in _lines(log))
    errors = [text for level, text in lines if level in ("ERROR", "CRITICAL")]
    return errors[-1] if errors else None


def _lines(log: Path) -> Iterator[tuple[str, str]]:
    """(level, message) of the last lines of a log."""
    for line in _tail(log).splitlines():
        if match := _LOG_LINE.match(line):
            yield match.group(1), match.group(2)


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read().decode("utf-8", "replace")
