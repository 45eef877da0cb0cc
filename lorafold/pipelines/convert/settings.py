"""What a conversion can be told: the one place where its defaults live. Free of torch and of Hydra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from lorafold.common.settings import (
    BASE_HELP,
    EXCLUDE_HELP,
    GOES_IN,
    INPUT_RANK,
    INPUT_RANK_HELP,
    LAYERS_HELP,
    documented,
    setting,
)


@documented
@dataclass(frozen=True)
class ConvertSettings:
    """Into which format."""

    format: str | None = setting(None, "kohya, diffusers, comfyui, peft, mlx, gguf or torchtune", "What it becomes")
    target: str | None = setting(
        None, "vllm (PEFT of one rank and scale), mlx, or gguf (llama.cpp): what that server loads", "What it becomes"
    )
    model: str | None = setting(
        None, "what it is for, if its file leaves that open: sd, sdxl, flux, flux2, sd3, wan, qwen, ...", GOES_IN
    )
    layers: Any = setting(None, LAYERS_HELP, GOES_IN)
    exclude: Any = setting(None, EXCLUDE_HELP, GOES_IN)
    base: str | None = setting(None, BASE_HELP, GOES_IN, files=True)
    input_rank: int = setting(INPUT_RANK, INPUT_RANK_HELP, GOES_IN)


class ConvertOptions(TypedDict, total=False):
    """The fields of `ConvertSettings`, as keywords."""

    format: str | None
    target: str | None
    model: str | None
    layers: Any
    exclude: Any
    base: str | None
    input_rank: int
