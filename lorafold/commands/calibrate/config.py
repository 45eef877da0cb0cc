"""The settings of `lorafold calibrate`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import ADAPTERS, OVERWRITE, THREADS, Help
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.calibrate.settings import CalibrateSettings


@dataclass(frozen=True)
class CalibrateConfig(CalibrateSettings):
    """`conf/calibrate.yaml`: the settings of a calibration, and what only the command needs to know."""

    adapters: Any = setting("demo", ADAPTERS, GOES_IN, files=True)
    beside: bool = setting(False, "true: write each file beside its adapter, to be shipped with it", COMES_OUT)
    output: str | None = setting(None, "a folder for them; null: the run's", COMES_OUT, files=True)
    overwrite: bool = setting(False, OVERWRITE, COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "what each adapter's own inputs look like to the layers that it changes, for merge calibration=[...].",
        (
            " a b base=LLM 'inputs=[a.txt,b.txt]'",
            " a.safetensors base=SDXL inputs=a.txt",
        ),
        leaves="NAME.stats.safetensors of each adapter: second moments of what its layers read, and how large its "
        "updates are there; of the inputs only how many they were and a SHA-256. It needs transformers or diffusers: "
        "pip install 'lorafold[models]'",
        first=("base", "inputs", "directions", "max_tokens", "steps", "size", "batch", "beside", "output"),
    )

    def settings(self) -> CalibrateSettings:
        """What `lorafold.calibrate` takes."""
        return part_of(self, CalibrateSettings)
