"""The settings of `lorafold align`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import ADAPTERS, THREADS, Help
from lorafold.common.settings import GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.align.settings import AlignSettings


@dataclass(frozen=True)
class AlignConfig(AlignSettings):
    """`conf/align.yaml`: the settings of an alignment, and what only the command needs to know."""

    adapters: Any = setting("demo", ADAPTERS, GOES_IN, files=True)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "rewrite the second and further adapters so that they match the first as it is, for tools that average "
        "factors instead of updates.",
        (
            "                       # the pair that lorafold ships",
            " a.safetensors b.safetensors",
        ),
        leaves="aligned_2, ... in the format of the inputs, float32 or wider, to be averaged with the first adapter, "
        "which stays as it is: up, down and alpha. aligned_1 too if its rank is lower than another one's, or its file "
        "holds no such factors (LoHa, DoRA): the same factors, zero-padded",
    )

    def settings(self) -> AlignSettings:
        """What `lorafold.align` takes."""
        return part_of(self, AlignSettings)
