"""What a sweep has left in its folders, read back as values: finished runs, and what failed or is missing.

Reads `metrics.json` and what Hydra writes beside it; all of it may come from strangers.
"""

from __future__ import annotations

from lorafold.commands.report.sweep.differing import differing as differing
from lorafold.commands.report.sweep.differing import words as words
from lorafold.commands.report.sweep.finished_run import Block as Block
from lorafold.commands.report.sweep.finished_run import Numbers as Numbers
from lorafold.commands.report.sweep.finished_run import SweepRun as SweepRun
from lorafold.commands.report.sweep.sweep import Problem as Problem
from lorafold.commands.report.sweep.sweep import Sweep as Sweep
from lorafold.commands.report.sweep.sweep import read_sweep as read_sweep

__all__ = ["Block", "Numbers", "Problem", "Sweep", "SweepRun", "differing", "read_sweep", "words"]
