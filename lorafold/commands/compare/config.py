"""The settings of `lorafold compare`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lorafold.common.settings import part_of
from lorafold.pipelines.compare.settings import CompareSettings


@dataclass(frozen=True)
class CompareConfig(CompareSettings):
    """`conf/compare.yaml`: the settings of a comparison, and what only the command needs to know."""

    adapters: Any = "demo"  # list of files and folders, or "demo": the pair that lorafold ships
    page: bool = True  # write overlap.html
    threads: int | None = None  # of the CPU; None: leave them as they are

    def settings(self) -> CompareSettings:
        """What `lorafold.compare` takes."""
        return part_of(self, CompareSettings)
