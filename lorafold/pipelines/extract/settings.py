"""What an extraction can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `ExtractSettings` as the schema of `conf/extract.yaml`; from Python,
`lorafold.extract(base, tuned, rank=16)` replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from lorafold.common.settings import (
    COMES_OUT,
    DEVICE_HELP,
    EXCLUDE_HELP,
    GOES_IN,
    INPUT_RANK,
    LAYERS_HELP,
    RUNS,
    documented,
    setting,
)

_KEPT = "How much is kept: one of these, or rank alone"
RANK = 32  # where nothing is said
MOST_RANK = INPUT_RANK  # where energy or budget is, and no rank


@documented
@dataclass(frozen=True)
class ExtractSettings:
    """What becomes of the difference of two models."""

    rank: int | None = setting(
        None, f"of a layer at most; null: {RANK}, with energy or budget {MOST_RANK}; lower where no more changed", _KEPT
    )
    energy: float | None = setting(None, "of every layer, a share of its squared singular values, in (0, 1]", _KEPT)
    budget: float | None = setting(
        None,
        "MB that the factors may take in all, spent on the singular values that buy most energy, in any layer",
        _KEPT,
    )
    layers: Any = setting(None, LAYERS_HELP, GOES_IN)
    exclude: Any = setting(None, EXCLUDE_HELP, GOES_IN)
    biases: bool = setting(
        False, "true: differences of biases and norms too (kohya and ComfyUI: diff; PEFT: modules_to_save)", COMES_OUT
    )
    embeddings: bool = setting(False, "true: embeddings and the last layer of a language model too", COMES_OUT)
    exact: bool = setting(
        False, "true: dense decompositions; else random ones, whose error is at most 1 % above the optimum", RUNS
    )
    format: str | None = setting(
        None, "kohya, diffusers, comfyui, peft, mlx, gguf or torchtune; null: kohya for image models, else peft",
        COMES_OUT,
    )  # fmt: skip
    dtype: str = setting("auto", "float32, float16, bfloat16; auto: of the tuned model", COMES_OUT)
    device: str = setting("auto", DEVICE_HELP, RUNS)
    seed: int = setting(0, "of random numbers", RUNS)


class ExtractOptions(TypedDict, total=False):
    """The fields of `ExtractSettings`, as keywords."""

    rank: int | None
    energy: float | None
    budget: float | None
    layers: Any
    exclude: Any
    biases: bool
    embeddings: bool
    exact: bool
    format: str | None
    dtype: str
    device: str
    seed: int
