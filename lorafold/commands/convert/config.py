"""The settings of `lorafold convert`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lorafold.common.settings import part_of
from lorafold.pipelines.convert.settings import ConvertSettings


@dataclass(frozen=True)
class ConvertConfig(ConvertSettings):
    """`conf/convert.yaml`: the settings of a conversion, and what only the command needs to know."""

    adapters: Any = "demo"  # a file or folder, or "demo": the first of the pair that lorafold ships
    output: str | None = None  # file or folder to write; None: converted[.safetensors] in the run's folder
    overwrite: bool = False  # replace what is there already: the output, or an earlier run in the same folder
    threads: int | None = None  # of the CPU; None: leave them as they are

    def settings(self) -> ConvertSettings:
        """What `lorafold.convert` takes."""
        return part_of(self, ConvertSettings)
