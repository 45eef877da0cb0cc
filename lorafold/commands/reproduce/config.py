"""The settings of `lorafold reproduce`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReproduceConfig:
    """`conf/reproduce.yaml`: what to repeat."""

    run: str | None = None  # the folder that a merge left
    tolerance: float = 1e-3  # largest relative difference of an update, and largest angle in radians, of equal runs
    threads: int | None = None  # of the CPU; None: as many as then
