"""Forward passes in another dtype than the model's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Matrix products in that dtype inside; None: as the model has it."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
