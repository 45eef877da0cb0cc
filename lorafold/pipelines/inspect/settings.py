"""What an inspection can be told: the one place where its defaults live. Free of torch and of Hydra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lorafold.common.settings import GOES_IN, INPUT_RANK, INPUT_RANK_HELP, documented, setting


@documented
@dataclass(frozen=True)
class InspectSettings:
    """How an adapter is looked at."""

    input_rank: int = setting(INPUT_RANK, INPUT_RANK_HELP, GOES_IN)


class InspectOptions(TypedDict, total=False):
    """The fields of `InspectSettings`, as keywords."""

    input_rank: int
