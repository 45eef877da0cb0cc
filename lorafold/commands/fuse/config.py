"""The settings of `lorafold fuse`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import MODEL, OVERWRITE, THREADS, Help
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.fuse.settings import FuseSettings


@dataclass(frozen=True)
class FuseConfig(FuseSettings):
    """`conf/fuse.yaml`: the settings of fusing, and what only the command needs to know."""

    adapters: Any = setting(None, "files or folders, by their names alone", GOES_IN, files=True)
    base: str | None = setting(None, MODEL, GOES_IN, files=True)
    output: str | None = setting(
        None, "a file where the base is one, else a folder; null: in the run's folder", COMES_OUT, files=True
    )
    overwrite: bool = setting(False, OVERWRITE, COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "LoRA adapters written into the model that they were trained on: W + sum of weight times update, one tensor at "
        "a time. The base stays as it is.",
        (
            " a.safetensors base=BASE output=MODEL",
            " a b base=BASE 'weights=[0.7,0.3]'",
        ),
        leaves="fused.safetensors or fused/, a copy of the base with its dtypes, shards, index and configuration, and "
        "metrics.json: how much each tensor changed, and what rounding did to it",
    )

    def settings(self) -> FuseSettings:
        """What `lorafold.fuse` takes."""
        return part_of(self, FuseSettings)
