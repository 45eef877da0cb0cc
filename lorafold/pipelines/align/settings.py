"""What an alignment can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `AlignSettings` as the schema of `conf/align.yaml`; from Python,
`lorafold.align(adapters, group="general")` replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lorafold.common.defaults import INPUT_RANK
from lorafold.common.settings import documented


@documented
@dataclass(frozen=True)
class AlignSettings:
    """The settings of one alignment."""

    mode: str = "gauge"  # gauge: the same updates in other factors | subspace: the same subspaces, other updates
    group: str = "orthogonal"  # of the gauge: orthogonal (closed form) | general (all invertible matrices, iterated)
    base: str | None = None  # file or folder: weights that the adapters were trained on; DoRA needs them
    input_rank: int = INPUT_RANK  # to which LoHa, LoKr, DoRA and whole differences are cut when they are read
    allow_different_bases: bool = False  # take adapters for models of different architectures, with a warning


class AlignOptions(TypedDict, total=False):
    """The fields of `AlignSettings`, as keywords."""

    mode: str
    group: str
    base: str | None
    input_rank: int
    allow_different_bases: bool
