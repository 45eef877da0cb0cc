"""The settings of `lorafold inspect`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import THREADS, Help
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.inspect.settings import InspectSettings


@dataclass(frozen=True)
class InspectConfig(InspectSettings):
    """`conf/inspect.yaml`: what to look at, and how."""

    adapters: Any = setting(
        "demo", "file or folder, or a list of them; demo: the pair that lorafold ships", GOES_IN, files=True
    )
    csv: bool = setting(False, "true: modules.csv too, a row for every module", COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "what is in an adapter: format, base model, ranks, size of the updates, trigger words, and what looks wrong.",
        (" a.safetensors", " a.safetensors folder csv=true"),
        (("inspect.json", "everything, module by module, and all metadata", COMES_OUT),),
        left_out=("-cd RUN -cn resolved",),
    )

    def settings(self) -> InspectSettings:
        """What `lorafold.inspect` takes."""
        return part_of(self, InspectSettings)
