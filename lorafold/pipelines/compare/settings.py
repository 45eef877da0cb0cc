"""What a comparison can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `CompareSettings` as the schema of `conf/compare.yaml`; from Python,
`lorafold.compare(adapters, alpha=0.01)` replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from lorafold.common.defaults import INPUT_RANK
from lorafold.common.settings import documented


@documented
@dataclass(frozen=True)
class CompareSettings:
    """The settings of one comparison."""

    distances: Any = ("chordal", "geodesic")  # list: which distances to report beside phi
    alpha: float = 0.05  # significance level, in (0, 1): how often chance alone may pass for more
    base: str | None = None  # file or folder: weights that the adapters were trained on; DoRA needs them
    input_rank: int = INPUT_RANK  # to which LoHa, LoKr, DoRA and whole differences are cut when they are read
    allow_different_bases: bool = False  # take adapters for models of different architectures, with a warning


class CompareOptions(TypedDict, total=False):
    """The fields of `CompareSettings`, as keywords."""

    distances: Any
    alpha: float
    base: str | None
    input_rank: int
    allow_different_bases: bool
