"""The settings of `lorafold report`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReportConfig:
    """`conf/report.yaml`: what to report on."""

    runs: Any = "outputs"  # a folder, or a list of them: runs at any depth
    chosen: str | None = None  # the run to begin with; None: whose worst adapter keeps most
