"""What Hydra calls before and after a sweep, whichever launcher and sweeper run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from lorafold.ending import fail
from lorafold.errors import LorafoldError
from lorafold.sweep import summary_of_failures
from lorafold.sweep_search import check_search


class SweepGuard(Callback):
    """A failed run stops no other; the program's exit status and its last line tell of it afterwards.

    A search whose runs would all come to nothing is refused before the first. Hydra turns exceptions of callbacks into
    warnings, but lets a program end.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        sweeper: Any = OmegaConf.to_container(config.hydra.sweeper)
        task = {key: OmegaConf.select(config, key) for key in ("score", "evaluator", "resume")}
        try:
            check_search(sweeper, task, Path(config.hydra.sweep.dir))
        except LorafoldError as error:
            fail(str(error))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if summary := summary_of_failures(Path(config.hydra.sweep.dir)):
            fail(summary)
