"""Adapters as they are fused: exact, whatever their rank, and with what DoRA needs the base for still open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lorafold.adapters import Adapter
from lorafold.adapters.conversion.language import FORMATS as LANGUAGE_FORMATS
from lorafold.adapters.conversion.language import as_transformers
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.files.open_adapter import open_adapter
from lorafold.adapters.formats.registry import check_finite, format_of
from lorafold.adapters.parametrisations.changed_base import as_plain
from lorafold.common.homes import with_home


def read_adapter(adapter: str | Path | Adapter, base: Path) -> Adapter:
    """The adapter under names that its model has, with nothing cut.

    Raises:
        LorafoldError: not an adapter, NaN or Inf in it, or a format that depends on a base without config.json.
    """
    if not isinstance(adapter, Adapter):
        file = open_adapter(adapter)
        check_tensors(file.tensors, file.path, "Training diverged; use an earlier checkpoint.")
        adapter = replace(as_plain(format_of(file).read(file), file.path, base), path=with_home(adapter))
    else:
        check_finite(adapter)
    return as_transformers(adapter, base) if adapter.format in LANGUAGE_FORMATS else adapter
