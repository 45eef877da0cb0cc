"""What `lorafold merge` does: one merge, or those along a path; and what it tells a sweeper."""

from __future__ import annotations

from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.path import follow_path
from lorafold.commands.merge.run import merge
from lorafold.commands.merge.score import check_score, score_of
from lorafold.runs.run import Run


def merge_and_score(run: Run, config: MergeConfig) -> float | tuple[float, ...] | None:
    """Merge as the settings say.

    Returns:
        What the sweeper is to minimise or maximise, if there is such a thing.
    """
    if config.path is not None:
        follow_path(run, config)
        return None
    names = check_score(config.score, config.evaluator is not None)
    return score_of(names, merge(run, config))
