"""The settings of `lorafold compare`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import ADAPTERS, PAGE, THREADS, Help
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.compare.settings import CompareSettings


@dataclass(frozen=True)
class CompareConfig(CompareSettings):
    """`conf/compare.yaml`: the settings of a comparison, and what only the command needs to know."""

    adapters: Any = setting("demo", ADAPTERS, GOES_IN, files=True)
    page: bool = setting(True, PAGE, COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "how much two or more LoRA adapters overlap, layer by layer, whether that is more than chance, and what to "
        "expect of a merge.",
        (
            "                     # the pair that lorafold ships",
            " a.safetensors b.safetensors",
        ),
    )

    def settings(self) -> CompareSettings:
        """What `lorafold.compare` takes."""
        return part_of(self, CompareSettings)
