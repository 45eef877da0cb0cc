"""What a sweep has left in its folders, read back as values: finished runs, and what failed or is missing.

Reads `metrics.json` and what Hydra writes beside it; all of it may come from strangers.
"""

from __future__ import annotations

from lorafold.sweep_report.run import Block as Block
from lorafold.sweep_report.run import Numbers as Numbers
from lorafold.sweep_report.run import SweepRun as SweepRun
from lorafold.sweep_report.settings import differing as differing
from lorafold.sweep_report.settings import words as words
from lorafold.sweep_report.sweep import Problem as Problem
from lorafold.sweep_report.sweep import Sweep as Sweep
from lorafold.sweep_report.sweep import read_sweep as read_sweep

__all__ = ["Block", "Numbers", "Problem", "Sweep", "SweepRun", "differing", "read_sweep", "words"]
