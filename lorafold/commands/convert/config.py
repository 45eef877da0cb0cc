"""The settings of `lorafold convert`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import ONE_ADAPTER, OUTPUT, OVERWRITE, THREADS, Help
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.convert.settings import ConvertSettings


@dataclass(frozen=True)
class ConvertConfig(ConvertSettings):
    """`conf/convert.yaml`: the settings of a conversion, and what only the command needs to know."""

    adapters: Any = setting("demo", ONE_ADAPTER, GOES_IN, files=True)
    output: str | None = setting(None, OUTPUT, COMES_OUT, files=True)
    overwrite: bool = setting(False, OVERWRITE, COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "rewrite an adapter in another format; every update stays exactly as it is.",
        (" a.safetensors format=diffusers",),
        leaves="converted.safetensors or converted/, and metrics.json: which layers were renamed, split or fused",
    )

    def settings(self) -> ConvertSettings:
        """What `lorafold.convert` takes."""
        return part_of(self, ConvertSettings)
