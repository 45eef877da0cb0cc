"""Reading: locate the file, map it, let the format that knows its names read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.open_adapter import open_adapter
from lorafold.adapters.formats.registry import format_of
from lorafold.adapters.parametrisations.changed_base import as_plain
from lorafold.adapters.parametrisations.full_difference import factor_full_differences, whole_layers
from lorafold.adapters.parametrisations.settle import resolve_pending
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home
from lorafold.common.settings import INPUT_RANK


def load(path: str | Path, *, base: str | Path | None = None, rank: int = INPUT_RANK) -> Adapter:
    """Read the adapter at `path`, without copying its factors where it holds factors.

    LoHa, LoKr, DoRA and whole differences become factors: the exact ones up to `rank`, else the best of that rank, with
    a warning that says what is lost.

    Args:
        path: a safetensors file (kohya, diffusers, ComfyUI); a PEFT folder, or the file in it; a folder with
            exactly one safetensors file.
        base: weights of the model that the adapter was trained on, a safetensors file or folder; DoRA, PiSSA and
            OLoRA need them.
        rank: see above; >= 1.

    Raises:
        LorafoldError: nothing there, not a complete safetensors file, of no known format, not a LoRA, or DoRA without
            a base that fits.
    """
    if not isinstance(rank, int) or rank < 1:
        raise LorafoldError(f"input_rank={rank!r}, expected a whole number >= 1", remedy="For example input_rank=128.")
    file = open_adapter(path)
    adapter = as_plain(format_of(file).read(file), file.path, base)
    adapter = resolve_pending(adapter, file.path, base, rank)
    if not adapter.modules:
        adapter = factor_full_differences(replace(adapter, path=file.path), whole_layers(adapter), rank)
    if not adapter.modules:
        raise LorafoldError(
            f"holds no LoRA factors, only {len(file.tensors)} other tensors such as {next(iter(file.tensors))}",
            path=file.path,
            remedy="Choose the file with the LoRA weights.",
        )
    return replace(adapter, path=with_home(path))
