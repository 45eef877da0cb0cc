"""Whether every number of an adapter is finite. It reads them all, so loading alone does not ask."""

from __future__ import annotations

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.formats.registry import FORMATS


def check_finite(adapter: Adapter) -> None:
    """Raise LorafoldError for the first tensor that holds NaN or Inf, by file and key."""
    check_tensors(
        FORMATS[adapter.format].tensors(adapter), adapter.path, "Training diverged; use an earlier checkpoint."
    )
