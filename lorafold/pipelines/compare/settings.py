"""What a comparison can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `CompareSettings` as the schema of `conf/compare.yaml`; from Python,
`lorafold.compare(adapters, alpha=0.01)` replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from lorafold.common.settings import (
    BASE_HELP,
    COMES_OUT,
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
class CompareSettings:
    """The settings of one comparison."""

    distances: Any = setting(
        ("chordal", "geodesic"),
        "which to report beside phi: asimov, binet_cauchy, chordal, fubini_study, geodesic, martin, procrustes, "
        "spectral",
        COMES_OUT,
    )
    alpha: float = setting(
        0.05, "significance level, in (0, 1): how often chance alone may pass for more than chance", COMES_OUT
    )
    panel: Any = setting(
        (),
        "other adapters of that base, unrelated to these, as the measure of chance: 'panel=[c,d,e,f,g]'; without, "
        "layers that do not belong together are",
        GOES_IN,
        files=True,
    )
    base: str | None = setting(None, BASE_HELP, GOES_IN, files=True)
    input_rank: int = setting(INPUT_RANK, INPUT_RANK_HELP, GOES_IN)
    allow_different_bases: bool = setting(False, DIFFERENT_BASES_HELP, GOES_IN)
    device: str = setting("cpu", DEVICE_HELP, RUNS)


class CompareOptions(TypedDict, total=False):
    """The fields of `CompareSettings`, as keywords."""

    distances: Any
    alpha: float
    panel: Any
    base: str | None
    input_rank: int
    allow_different_bases: bool
    device: str
