"""The settings of `lorafold align`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lorafold.common.settings import part_of
from lorafold.pipelines.align.settings import AlignSettings


@dataclass(frozen=True)
class AlignConfig(AlignSettings):
    """`conf/align.yaml`: the settings of an alignment, and what only the command needs to know."""

    adapters: Any = "demo"  # list of files and folders, or "demo": the pair that lorafold ships
    threads: int | None = None  # of the CPU; None: leave them as they are

    def settings(self) -> AlignSettings:
        """What `lorafold.align` takes."""
        return part_of(self, AlignSettings)
