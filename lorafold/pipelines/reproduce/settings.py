"""What a repetition can be told: the one place where its defaults live. Free of torch and of Hydra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lorafold.common.settings import RUNS, documented, setting

WHAT = "What to repeat (KEY=VALUE)"


@documented
@dataclass(frozen=True)
class ReproduceSettings:
    """How a merge is repeated."""

    tolerance: float = setting(
        1e-3,
        "largest relative difference of an update, and largest angle between its spaces in radians, of equal adapters",
        WHAT,
    )
    threads: int | None = setting(None, "of the CPU; null: as many as then", RUNS)


class ReproduceOptions(TypedDict, total=False):
    """The fields of `ReproduceSettings`, as keywords."""

    tolerance: float
    threads: int | None
