"""The settings of `lorafold distill`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import ADAPTERS, OUTPUT, OVERWRITE, THREADS, Help
from lorafold.common.settings import COMES_OUT, DEVICE_HELP, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.distill.settings import DistillSettings


@dataclass(frozen=True)
class DistillConfig(DistillSettings):
    """`conf/distill.yaml`: the settings of a distillation, and what only the command needs to know."""

    adapters: Any = setting("demo", ADAPTERS, GOES_IN, files=True)
    base: str | None = setting(
        None, "the model that they were trained on: a folder of transformers or diffusers", GOES_IN
    )
    inputs: Any = setting(
        None,
        "of each adapter its own, without labels: 'inputs=[a.txt,b.jsonl]', a line each; or safetensors with input_ids "
        "and attention_mask",
        GOES_IN,
        files=True,
    )
    device: str = setting("auto", DEVICE_HELP, RUNS)
    output: str | None = setting(None, OUTPUT, COMES_OUT, files=True)
    resume: bool = setting(False, "true: go on with what hydra.run.dir=DIR holds; repeat the same command", RUNS)
    overwrite: bool = setting(False, OVERWRITE, COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "two or more LoRA adapters in, one out that does to the model, on a few unlabelled inputs of each, what each "
        "of them does.",
        (
            " a b base=MODEL 'inputs=[a.txt,b.txt]'",
            " a b base=MODEL 'inputs=[p,q]' rank=8",
        ),
        leaves="distilled.safetensors or distilled/, in the format and dtype of the first adapter, and metrics.json: "
        "how far it is from each adapter on inputs that were held back, before and after, and the loss of every step",
        first=("base", "inputs", "rank", "layers", "manifold", "steps", "learning_rate", "output"),
    )

    def settings(self) -> DistillSettings:
        """What `lorafold.distill` takes."""
        return part_of(self, DistillSettings)
