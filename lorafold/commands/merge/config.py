"""The settings of `lorafold merge`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lorafold.common.settings import part_of
from lorafold.pipelines.merge.settings import MergeSettings


@dataclass(frozen=True)
class MergeConfig(MergeSettings):
    """`conf/merge.yaml`: the settings of a merge, and what only the command needs to know."""

    adapters: Any = "demo"  # list of files and folders, or "demo": the pair that lorafold ships
    output: str | None = None  # file or folder to write; None: merged[.safetensors] in the run's folder
    page: bool = True  # write overlap.html
    path: int | None = None  # number of merges along the path from the first to the second adapter; None: one merge
    evaluator: str | None = None  # package.module:function, which is given the merged adapter's path
    score: Any = None  # what a run returns to the sweeper: phi, error, retained, parameters, or the evaluator's own
    tracker: str | None = None  # where the run is logged too: "mlflow"
    resume: bool = False  # leave out what is finished already in the folder of the run
    overwrite: bool = False  # replace what is there already: the output, or an earlier run in the same folder
    threads: int | None = None  # of the CPU; None: leave them as they are, or in a sweep share them

    def settings(self) -> MergeSettings:
        """What `lorafold.merge` takes."""
        return part_of(self, MergeSettings)
