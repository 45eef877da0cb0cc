"""NaN and Inf are found before a file is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError


def check_tensors(tensors: Mapping[str, Tensor], path: Path | None, remedy: str) -> None:
    """`check_finite` for tensors by key, with the path and the remedy to name."""
    for key, tensor in tensors.items():
        # aminmax propagates NaN, and unlike isfinite it needs no mask as large as the tensor (18 times faster).
        if tensor.is_floating_point() and tensor.numel():
            wide = tensor.float() if tensor.element_size() == 1 else tensor  # torch has no aminmax of float8
            low, high = (value.item() for value in torch.aminmax(wide))
            if not (math.isfinite(low) and math.isfinite(high)):
                raise LorafoldError("holds NaN or Inf, expected finite numbers", path=path, key=key, remedy=remedy)
