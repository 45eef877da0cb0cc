"""What an alignment can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `AlignSettings` as the schema of `conf/align.yaml`; from Python,
`lorafold.align(adapters, group="general")` replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lorafold.common.settings import (
    BASE_HELP,
    DEVICE_HELP,
    DIFFERENT_BASES_HELP,
    GOES_IN,
    INPUT_RANK,
    INPUT_RANK_HELP,
    RUNS,
    documented,
    setting,
)


@documented
@dataclass(frozen=True)
class AlignSettings:
    """The settings of one alignment."""

    mode: str = setting(
        "gauge",
        "gauge: the update of every adapter; its factors change\nsubspace: its column and row spaces; the update "
        "becomes the nearest to that of the first adapter",
        "What is kept",
    )
    group: str = setting(
        "orthogonal",
        "of the gauge. orthogonal: in closed form\ngeneral: all invertible matrices, by iteration; each module as "
        "it is where that errs less",
        "What is kept",
    )
    base: str | None = setting(None, BASE_HELP, GOES_IN, files=True)
    input_rank: int = setting(INPUT_RANK, INPUT_RANK_HELP, GOES_IN)
    allow_different_bases: bool = setting(False, DIFFERENT_BASES_HELP, GOES_IN)
    device: str = setting("cpu", DEVICE_HELP, RUNS)


class AlignOptions(TypedDict, total=False):
    """The fields of `AlignSettings`, as keywords."""

    mode: str
    group: str
    base: str | None
    input_rank: int
    allow_different_bases: bool
    device: str
