"""What fusing can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `FuseSettings` as the schema of `conf/fuse.yaml`; from Python,
`lorafold.fuse(base, adapters, weights=[0.7, 0.3])` replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from lorafold.common.settings import (
    COMES_OUT,
    DEVICE_HELP,
    EXCLUDE_HELP,
    GOES_IN,
    LAYERS_HELP,
    RUNS,
    documented,
    setting,
)

ROUNDINGS = ("nearest", "stochastic")


@documented
@dataclass(frozen=True)
class FuseSettings:
    """How adapters are written into a model: W + Σ wᵢ ΔWᵢ."""

    weights: Any = setting(None, "one number each: 'weights=[0.7,0.3]'; null: 1 each", GOES_IN)
    layers: Any = setting(None, LAYERS_HELP, GOES_IN)
    exclude: Any = setting(None, EXCLUDE_HELP, GOES_IN)
    rounding: str = setting(
        "nearest",
        "to the dtype of the base; stochastic: up or down at random, so that small updates count on average",
        COMES_OUT,
    )
    device: str = setting("auto", DEVICE_HELP, RUNS)
    seed: int = setting(0, "of random numbers", RUNS)


class FuseOptions(TypedDict, total=False):
    """The fields of `FuseSettings`, as keywords."""

    weights: Any
    layers: Any
    exclude: Any
    rounding: str
    device: str
    seed: int
