"""What a search for the best run, by Optuna, must have before its first run. Free of torch and Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorafold.commands.merge.score import check_score
from lorafold.common.errors import LorafoldError
from lorafold.runs.folders import METRICS


def check_search(sweeper: Mapping[str, Any], task: Mapping[str, Any], sweep: Path) -> None:
    """Refuse a search that could find nothing, or would write over what an earlier one found; let others pass.

    Args:
        sweeper: its settings, `hydra.sweeper`; one with a `direction` wants a number for it from every run.
        task: the settings of the command.
        sweep: the folder of the runs, `hydra.sweep.dir`.

    Raises:
        LorafoldError: no score or not one per direction; or the folder holds runs that this search does not repeat.
    """
    if "direction" not in sweeper:
        return
    _check_scores(sweeper["direction"], task)
    if sweep.is_dir() and next(sweep.rglob(METRICS), None):
        _check_repetition(sweeper, task, sweep)


def _check_scores(direction: Any, task: Mapping[str, Any]) -> None:
    judge = task.get("evaluator")
    scores = check_score(task.get("score"), judge is not None)
    directions = len(direction) if isinstance(direction, list) else 1
    if not scores:
        name = "value for the number that the evaluator returns, or its name" if judge else "error, for example"
        raise LorafoldError("a search without a score", remedy=f"Write score={name}.")
    if len(scores) != directions:
        raise LorafoldError(
            f"{len(scores)} scores ({', '.join(scores)}), but {directions} in hydra.sweeper.direction",
            remedy=f"Write hydra.sweeper.direction={_example(len(scores))}, or maximize.",
        )


def _example(directions: int) -> str:
    return "minimize" if directions == 1 else f"[{','.join(['minimize'] * directions)}]"


def _check_repetition(sweeper: Mapping[str, Any], task: Mapping[str, Any], sweep: Path) -> None:
    """A search begins to count at run 0, whatever it remembers."""
    if sweeper.get("storage"):
        raise LorafoldError(
            f"{sweep} holds runs already, and a stored study makes other ones",
            remedy="Leave out hydra.sweep.dir or choose another: the study goes on, and report takes several folders.",
        )
    sampler = sweeper.get("sampler") or {}
    if task.get("resume") and "seed" in sampler and sampler["seed"] is None:
        raise LorafoldError(
            f"resume=true in {sweep}, but without a seed the search makes other runs",
            remedy="Give the first call and the next ones the same hydra.sweeper.sampler.seed.",
        )
