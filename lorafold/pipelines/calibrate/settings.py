"""What a calibration can be told: the one place where its defaults live. Free of torch and of Hydra.

The command uses `CalibrateSettings` as the schema of `conf/calibrate.yaml`; from Python, `lorafold.calibrate(adapters,
base=..., inputs=...)` replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from lorafold.common.settings import DEVICE_HELP, GOES_IN, INPUT_RANK, INPUT_RANK_HELP, RUNS, documented, setting

_MEASURED = "What is measured"


@documented
@dataclass(frozen=True)
class CalibrateSettings:
    """Which model runs on which inputs, and what is kept of it."""

    base: str | None = setting(
        None,
        "the model that the adapters were trained on: a folder of transformers, or of a diffusers pipeline",
        GOES_IN,
        files=True,
    )
    inputs: Any = setting(
        None,
        "per adapter a file of its own task's inputs, 128 or so, without labels: a text or prompt a line; JSONL with "
        "text, prompt or messages; safetensors with input_ids and attention_mask",
        GOES_IN,
        files=True,
    )
    directions: int = setting(32, "eigenpairs kept of what a layer reads, beside its diagonal", _MEASURED)
    max_tokens: int = setting(512, "of an input; longer ones are cut", _MEASURED)
    steps: int = setting(4, "of denoising, for a diffusers pipeline", _MEASURED)
    size: int | None = setting(None, "of its images in pixels; null: the pipeline's own", _MEASURED)
    input_rank: int = setting(INPUT_RANK, INPUT_RANK_HELP, GOES_IN)
    batch: int = setting(8, "inputs that the model runs at once", RUNS)
    device: str = setting("auto", DEVICE_HELP, RUNS)
    dtype: str = setting(
        "auto", "of the model: float32, bfloat16, float16; auto: float32 on the CPU, else that of its files", RUNS
    )
    seed: int = setting(0, "of the noise that a pipeline starts from", RUNS)


class CalibrateOptions(TypedDict, total=False):
    """The fields of `CalibrateSettings`, as keywords."""

    base: str | None
    inputs: Any
    directions: int
    max_tokens: int
    steps: int
    size: int | None
    input_rank: int
    batch: int
    device: str
    dtype: str
    seed: int
