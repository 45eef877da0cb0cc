"""The settings of `lorafold resize`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import ONE_ADAPTER, OUTPUT, OVERWRITE, THREADS, Help
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.resize.settings import ResizeSettings


@dataclass(frozen=True)
class ResizeConfig(ResizeSettings):
    """`conf/resize.yaml`: the settings of a change of rank, and what only the command needs to know."""

    adapters: Any = setting("demo", ONE_ADAPTER, GOES_IN, files=True)
    output: str | None = setting(None, OUTPUT, COMES_OUT, files=True)
    overwrite: bool = setting(False, OVERWRITE, COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "give the modules of an adapter lower ranks. Every update becomes its best approximation of that rank "
        "(truncated SVD, exact).",
        (
            " a.safetensors rank=16",
            " a.safetensors energy=0.95 rank=32",
            " -m a.safetensors parameters=0.25,0.5",
        ),
        leaves="resized.safetensors or resized/, in the format and dtype of the input, and metrics.json: rank, energy "
        "kept and error of every module",
    )

    def settings(self) -> ResizeSettings:
        """What `lorafold.resize` takes."""
        return part_of(self, ResizeSettings)
