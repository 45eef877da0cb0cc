"""Reading: locate the file, map it, let the format that knows its names read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.locate import locate
from lorafold.adapters.registry import format_of
from lorafold.adapters.tensor_file import open_tensors
from lorafold.errors import LorafoldError


def load(path: str | Path) -> Adapter:
    """Read the adapter at `path` without copying its factors.

    Args:
        path: a safetensors file of kohya names; a PEFT folder, or the safetensors file in it; a folder with
            exactly one safetensors file.

    Raises:
        LorafoldError: nothing there, not a complete safetensors file, of no known format, or not a plain LoRA.
    """
    file = open_tensors(locate(path))
    adapter = format_of(file).read(file)
    if not adapter.modules:
        raise LorafoldError(
            f"holds no LoRA factors, only {len(file.tensors)} other tensors such as {next(iter(file.tensors))}",
            path=file.path,
            remedy="Choose the file with the LoRA weights.",
        )
    return replace(adapter, path=Path(path).expanduser())
