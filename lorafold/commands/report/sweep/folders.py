"""Where runs and sweeps have left something below some folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

METRICS, PATH = "metrics.json", "path.csv"


@dataclass(frozen=True)
class Folders:
    """Found below the folders, each once, in natural order.

    Args:
        finished: with a `metrics.json`.
        begun: where Hydra began a run (`.hydra`) that left neither a `metrics.json` nor the `path.csv` of several runs.
        sweeps: with the `multirun.yaml` of a sweep.
    """

    finished: tuple[Path, ...]
    begun: tuple[Path, ...]
    sweeps: tuple[Path, ...]


def find(roots: Iterable[Path]) -> Folders:
    """Look through the folders and all below them; links to folders are not followed."""
    entries = {folder: names for root in roots for folder, names in _walk(root)}
    order = sorted(entries, key=natural)
    finished = tuple(folder for folder in order if METRICS in entries[folder])
    begun = tuple(folder for folder in order if ".hydra" in entries[folder] and not {METRICS, PATH} & entries[folder])
    return Folders(finished, begun, tuple(folder for folder in order if "multirun.yaml" in entries[folder]))


def natural(path: Path) -> list[tuple[int, str]]:
    """By which 9 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path)) if part]


def _walk(root: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    for folder, folders, files in os.walk(root.resolve()):
        yield Path(folder), frozenset((*folders, *files))
        folders[:] = [name for name in folders if not name.startswith(".")]
