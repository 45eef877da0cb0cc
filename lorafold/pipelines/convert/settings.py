"""What a conversion can be told: the one place where its defaults live. Free of torch and of Hydra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lorafold.common.defaults import INPUT_RANK
from lorafold.common.settings import documented


@documented
@dataclass(frozen=True)
class ConvertSettings:
    """Into which format."""

    format: str | None = None  # kohya | diffusers | comfyui | peft; there is no default
    base: str | None = None  # file or folder: weights that the adapter was trained on; DoRA needs them
    input_rank: int = INPUT_RANK  # to which LoHa, LoKr, DoRA and whole differences are cut when they are read


class ConvertOptions(TypedDict, total=False):
    """The fields of `ConvertSettings`, as keywords."""

    format: str | None
    base: str | None
    input_rank: int
