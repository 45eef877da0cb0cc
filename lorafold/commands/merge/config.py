"""The settings of `lorafold merge`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import ADAPTERS, OUTPUT, OVERWRITE, PAGE, THREADS, Help
from lorafold.common.settings import COMES_OUT, GOES_IN, RUNS, part_of, setting
from lorafold.pipelines.merge.settings import SUBSPACES, MergeSettings

_MANY = "Many runs"


@dataclass(frozen=True)
class MergeConfig(MergeSettings):
    """`conf/merge.yaml`: the settings of a merge, and what only the command needs to know."""

    adapters: Any = setting("demo", ADAPTERS, GOES_IN, files=True)
    output: str | None = setting(None, OUTPUT, COMES_OUT, files=True)
    page: bool = setting(True, f"{PAGE}: how the adapters and the merged one lie to each other", COMES_OUT)
    path: int | None = setting(
        None,
        "11: eleven merges on the way from the first adapter to the second, each in a folder, without pages",
        COMES_OUT,
    )
    evaluator: str | None = setting(
        None,
        "agreement: share of unlabelled inputs on which a model decides as with each adapter; kl: how far its "
        "probabilities are from theirs; package.module:function of yours, which is given the merged adapter's path and "
        "returns numbers",
        _MANY,
    )
    evaluator_model: str | None = setting(
        None, "of agreement and kl: the folder of the model, with its head", _MANY, files=True
    )
    evaluator_inputs: Any = setting(
        None, "likewise, of each adapter its own: 'evaluator_inputs=[a.txt,b.txt]', see calibrate", _MANY, files=True
    )
    score: Any = setting(
        None,
        "what hydra/sweeper=optuna is told of a run: phi, error, retained (of the worst adapter), parameters, value "
        "(of an evaluator that returns a number), or a name that it returns; or a list of them",
        _MANY,
    )
    tracker: str | None = setting(
        None, "mlflow: log settings and figures there too, where MLFLOW_TRACKING_URI says", _MANY
    )
    resume: bool = setting(
        False,
        "true: leave out the finished ones among the runs in hydra.sweep.dir=DIR; repeat the same command",
        _MANY,
    )
    overwrite: bool = setting(False, OVERWRITE, COMES_OUT)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "two or more LoRA adapters in, one out.",
        (
            "                                           # the demo pair",
            " a.safetensors b.safetensors rank=16",
            " a.safetensors b.safetensors -m rank=8,16  # a run for each",
        ),
        (
            (
                "method",
                "a published method (or balanced, lorafold's own): chooses of the above what it needs",
                SUBSPACES,
            ),
            (
                "sweep",
                "a named one of those below; or -m and values with commas",
                _MANY,
            ),
            (
                "hydra/launcher",
                "joblib, ray, submitit_local, submitit_slurm: runs at the same time; hydra.launcher.KEY=...",
                _MANY,
            ),
        ),
        choices=("objective", "manifold", "solver", "core", "method", "sweep"),
        first=("weights", "rank", "scale", "method", "core", "calibration", "dtype", "output", "overwrite"),
    )

    def settings(self) -> MergeSettings:
        """What `lorafold.merge` takes."""
        return part_of(self, MergeSettings)
