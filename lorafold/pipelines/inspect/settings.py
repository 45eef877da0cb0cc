"""What an inspection can be told: the one place where its defaults live. Free of torch and of Hydra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lorafold.common.defaults import INPUT_RANK
from lorafold.common.settings import documented


@documented
@dataclass(frozen=True)
class InspectSettings:
    """How an adapter is looked at."""

    input_rank: int = INPUT_RANK  # to which LoHa, LoKr, DoRA and whole differences are cut when they are read


class InspectOptions(TypedDict, total=False):
    """The fields of `InspectSettings`, as keywords."""

    input_rank: int
