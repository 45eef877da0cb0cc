"""What Hydra calls before and after a run or a sweep, whichever launcher and sweeper run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from lorafold.cli.exit_status import fail, mistakes_of_the_user
from lorafold.cli.search import check_search
from lorafold.runs.folders import summary_of_failures
from lorafold.runs.run_folder import open_run, open_sweep


class SweepGuard(Callback):
    """A run or a sweep that would come to nothing, or write over an earlier one, is refused before it begins.

    In a sweep a failed run stops no other; the program's exit status and its last line tell of it afterwards. Hydra
    turns exceptions of callbacks into warnings, but lets a program end.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with mistakes_of_the_user():
            open_run(Path(config.hydra.run.dir), _task(config))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        sweeper: Any = OmegaConf.to_container(config.hydra.sweeper)
        task, folder = _task(config), Path(config.hydra.sweep.dir)
        with mistakes_of_the_user():
            check_search(sweeper, task, folder)
            open_sweep(folder, task)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if summary := summary_of_failures(Path(config.hydra.sweep.dir)):
            fail(summary)


def _task(config: DictConfig) -> dict[Any, Any]:
    """The settings of the command as they were written: what they refer to may differ from run to run."""
    task: Any = OmegaConf.to_container(config)
    return {key: value for key, value in task.items() if key != "hydra"}
