"""The settings of `lorafold resize`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lorafold.common.settings import part_of
from lorafold.pipelines.resize.settings import ResizeSettings


@dataclass(frozen=True)
class ResizeConfig(ResizeSettings):
    """`conf/resize.yaml`: the settings of a change of rank, and what only the command needs to know."""

    adapters: Any = "demo"  # a file or folder, or "demo": the first of the pair that lorafold ships
    output: str | None = None  # file or folder to write; None: resized[.safetensors] in the run's folder
    overwrite: bool = False  # replace what is there already: the output, or an earlier run in the same folder
    threads: int | None = None  # of the CPU; None: leave them as they are

    def settings(self) -> ResizeSettings:
        """What `lorafold.resize` takes."""
        return part_of(self, ResizeSettings)
