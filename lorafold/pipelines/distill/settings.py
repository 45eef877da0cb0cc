"""What a distillation can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `DistillSettings` as the schema of `conf/distill.yaml`; from Python, `lorafold.distill(..., rank=8)`
replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from lorafold.common.settings import (
    COMES_OUT,
    DIFFERENT_BASES_HELP,
    GOES_IN,
    INPUT_RANK,
    INPUT_RANK_HELP,
    RUNS,
    documented,
    setting,
)

_LEARNS = "How it learns"
_COMPARED = "What is compared"


@documented
@dataclass(frozen=True)
class DistillSettings:
    """The settings of one distillation."""

    rank: Any = setting(16, "of the merged adapter; max: what the adapters have together", COMES_OUT)
    calibration: Any = setting(
        None,
        "statistics that `lorafold calibrate` left, a file for each adapter: it starts from the calibrated merge then, "
        "which is nearer than the one without inputs",
        GOES_IN,
        files=True,
    )
    layers: str = setting(
        "last", "hidden states: last, all (of every layer), pooled (mean of the last over the tokens)", _COMPARED
    )
    held_back: float = setting(0.1, "share of each adapter's inputs that only measure the outcome", _COMPARED)
    max_tokens: int = setting(512, "longer inputs are cut", _COMPARED)
    manifold: str = setting(
        "grassmann",
        "of the subspaces of the updates U S V^T: grassmann, grassmann_exact, stiefel; euclidean: two plain factors, "
        "moved by Adam",
        _LEARNS,
    )
    distance: str = setting("phi", "from the adapters' subspaces: phi, chordal, geodesic, ...", _LEARNS)
    subspace_weight: float = setting(0.0, "of that distance, beside a loss that is 1 without adapters", _LEARNS)
    steps: int = setting(60, "of the optimiser; 200 where it may take longer", _LEARNS)
    batch: int = setting(8, "inputs of each adapter and step", _LEARNS)
    learning_rate: Any = setting(
        None, "of U and V in radians, or of plain factors; null: what suits the manifold", _LEARNS
    )
    core_rate: float = setting(0.004, "of S, whose norm is 1 at the start", _LEARNS)
    checkpointing: bool = setting(False, "true: compute the layers again for their gradients, for less memory", RUNS)
    input_rank: int = setting(INPUT_RANK, INPUT_RANK_HELP, GOES_IN)
    allow_different_bases: bool = setting(False, DIFFERENT_BASES_HELP, GOES_IN)
    dtype: str = setting("auto", "of the forward passes: float32, bfloat16, float16; auto: of the model", RUNS)
    save_every: int = setting(20, "steps after which the state is saved, to go on with resume=true; 0: never", RUNS)
    seed: int = setting(0, "of what is held back, and of the order of the inputs", RUNS)


class DistillOptions(TypedDict, total=False):
    """The fields of `DistillSettings`, as keywords."""

    rank: Any
    calibration: Any
    layers: str
    held_back: float
    max_tokens: int
    manifold: str
    distance: str
    subspace_weight: float
    steps: int
    batch: int
    learning_rate: Any
    core_rate: float
    checkpointing: bool
    input_rank: int
    allow_different_bases: bool
    dtype: str
    save_every: int
    seed: int
