"""The settings of `lorafold extract`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lorafold.commands.help import MODEL, OUTPUT, OVERWRITE, THREADS, Help
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.extract.settings import ExtractSettings


@dataclass(frozen=True)
class ExtractConfig(ExtractSettings):
    """`conf/extract.yaml`: the settings of an extraction, and what only the command needs to know."""

    base: str | None = setting(None, MODEL, GOES_IN, files=True)
    tuned: str | None = setting(None, "the model that was trained from it, likewise", GOES_IN, files=True)
    output: str | None = setting(None, OUTPUT, COMES_OUT, files=True)
    overwrite: bool = setting(False, OVERWRITE, COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "what one model has learnt beyond another, as a LoRA adapter: the difference of every layer at a rank, read "
        "and decomposed one layer at a time.",
        (
            " base=BASE tuned=TUNED rank=32",
            " base=BASE tuned=TUNED energy=0.95 rank=128",
            " base=sdxl.safetensors tuned=FOLDER budget=200",
        ),
        first=("rank", "energy", "budget", "base", "tuned", "format", "output", "overwrite"),
        leaves="extracted.safetensors or extracted/, and metrics.json: rank, energy kept and error of every layer, "
        "and which layers were left out and why",
    )

    def settings(self) -> ExtractSettings:
        """What `lorafold.extract` takes."""
        return part_of(self, ExtractSettings)
