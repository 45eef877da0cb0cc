"""What a change of rank can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `ResizeSettings` as the schema of `conf/resize.yaml`; from Python, `lorafold.resize(adapter, rank=8)`
replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from lorafold.common.settings import (
    BASE_HELP,
    DEVICE_HELP,
    EXCLUDE_HELP,
    GOES_IN,
    INPUT_RANK,
    INPUT_RANK_HELP,
    LAYERS_HELP,
    RUNS,
    documented,
    setting,
)

_KEPT = "How much is kept: one of these, or rank alone"


@documented
@dataclass(frozen=True)
class ResizeSettings:
    """How much of each module is kept: `rank` alone, or one of the others with `rank` as an upper limit."""

    rank: int | None = setting(None, "of a module at most", _KEPT)
    energy: float | None = setting(None, "of every module, a share of its squared singular values, in (0, 1]", _KEPT)
    ratio: float | None = setting(
        None, "of every module, the singular values that are not below this share of its largest one, in (0, 1]", _KEPT
    )
    parameters: float | None = setting(
        None,
        "a share of the adapter's parameters, in (0, 1], spent on the singular values that buy most energy, in any "
        "module",
        _KEPT,
    )
    layers: Any = setting(None, LAYERS_HELP, GOES_IN)
    exclude: Any = setting(None, EXCLUDE_HELP, GOES_IN)
    base: str | None = setting(None, BASE_HELP, GOES_IN, files=True)
    input_rank: int = setting(INPUT_RANK, INPUT_RANK_HELP, GOES_IN)
    device: str = setting("cpu", DEVICE_HELP, RUNS)


class ResizeOptions(TypedDict, total=False):
    """The fields of `ResizeSettings`, as keywords."""

    rank: int | None
    energy: float | None
    ratio: float | None
    parameters: float | None
    layers: Any
    exclude: Any
    base: str | None
    input_rank: int
    device: str
