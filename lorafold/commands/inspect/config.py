"""The settings of `lorafold inspect`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class InspectConfig:
    """`conf/inspect.yaml`: what to look at."""

    adapters: Any = "demo"  # a file or folder, a list of them, or "demo": the pair that lorafold ships
    csv: bool = False  # write modules.csv
    threads: int | None = None  # of the CPU; None: leave them as they are
