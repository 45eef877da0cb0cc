"""The settings of `lorafold reproduce`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lorafold.commands.help import Help
from lorafold.common.settings import setting
from lorafold.pipelines.reproduce.settings import WHAT, ReproduceSettings


@dataclass(frozen=True)
class ReproduceConfig(ReproduceSettings):
    """`conf/reproduce.yaml`: what to repeat."""

    run: str | None = setting(None, "the folder that a merge left", WHAT, files=True)

    help: ClassVar[Help] = Help(
        "run a merge again with the settings in its resolved.yaml, and say whether the adapter is identical, equal or "
        "different.",
        (" outputs/merge/DATE/TIME",),
        leaves="again/, the run; and metrics.json: angles and difference of every module, and what has changed since, "
        "such as the version of torch. It stops if the inputs have changed. The exit status is 1 for different.",
        left_out=("-m", "-cd DIR -cn NAME", "-cd RUN -cn resolved"),
    )
