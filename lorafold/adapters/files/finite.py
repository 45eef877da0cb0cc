"""NaN and Inf are found before a file is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.common.parallel import cpu_threads


def check_tensors(tensors: Mapping[str, Tensor], path: Path | None, remedy: str) -> None:
    """`check_finite` for tensors by key, with the path and the remedy to name."""
    with cpu_threads(1):  # of hundreds of factors each is read sooner than a second thread has woken up
        for key, tensor in tensors.items():
            if not _is_finite(tensor):
                raise LorafoldError("holds NaN or Inf, expected finite numbers", path=path, key=key, remedy=remedy)


def _is_finite(tensor: Tensor) -> bool:
    """By aminmax, which propagates NaN, and unlike isfinite needs no mask as large as the tensor (18 times faster)."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    wide = tensor.float() if tensor.element_size() == 1 else tensor  # torch has no aminmax of float8
    return all(math.isfinite(value.item()) for value in torch.aminmax(wide))
