"""What a change of rank can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `ResizeSettings` as the schema of `conf/resize.yaml`; from Python, `lorafold.resize(adapter, rank=8)`
replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lorafold.common.defaults import INPUT_RANK
from lorafold.common.settings import documented


@documented
@dataclass(frozen=True)
class ResizeSettings:
    """How much of each module is kept: `rank` alone, or one of the others with `rank` as an upper limit."""

    rank: int | None = None  # of every module, but not more than it has
    energy: float | None = None  # share of every module's squared singular values, in (0, 1]
    ratio: float | None = None  # of a module's singular values to its largest one, in (0, 1]
    parameters: float | None = None  # share of the adapter's parameters, in (0, 1], where they keep most energy
    base: str | None = None  # file or folder: weights that the adapter was trained on; DoRA needs them
    input_rank: int = INPUT_RANK  # to which LoHa, LoKr, DoRA and whole differences are cut when they are read


class ResizeOptions(TypedDict, total=False):
    """The fields of `ResizeSettings`, as keywords."""

    rank: int | None
    energy: float | None
    ratio: float | None
    parameters: float | None
    base: str | None
    input_rank: int
