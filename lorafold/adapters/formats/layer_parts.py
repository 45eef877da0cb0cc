"""What files of kohya and ComfyUI share: parts of layers, additive tensors beside them, hashes in the header."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import floating
from lorafold.adapters.files.tensor_file import TensorFile, write_tensors
from lorafold.adapters.files.webui_hashes import with_hashes
from lorafold.adapters.formats.refusals import unsupported
from lorafold.adapters.module import Module
from lorafold.common.errors import LorafoldError

# Differences of whole weights, biases and norms; every consumer adds them to the base, unscaled.
DELTA = re.compile(r".+\.(?:diff|diff_b|w_norm|b_norm)")

Split = Callable[[str], tuple[str, str] | None]  # key -> name of the module, part


def sort_tensors(file: TensorFile, split: Split) -> tuple[dict[str, dict[str, str]], dict[str, Tensor]]:
    """The keys of every module by part, and the additive tensors.

    Raises:
        LorafoldError: a tensor that is neither.
    """
    parts: dict[str, dict[str, str]] = {}
    deltas: dict[str, Tensor] = {}
    for key in file.tensors:
        if names := split(key):
            parts.setdefault(names[0], {})[names[1]] = key
        elif DELTA.fullmatch(key):
            deltas[key] = floating(file, key)
        else:
            raise unsupported(file.path, key)
    return parts, deltas


def check_extras(adapter: Adapter, file: str) -> None:
    """Refuse what such a file has no place for; `file` says which, as in `a kohya file`."""
    for key in adapter.extras:
        raise LorafoldError(f"{file} cannot hold whole weights", key=key, remedy="Save as PEFT.")


def check_module(module: Module, file: str) -> None:
    """Likewise of one module."""
    if module.bias is not None or module.kind == "embedding":
        raise LorafoldError(
            f"{file} can hold neither a LoRA bias nor an embedding", key=module.name, remedy="Save as PEFT."
        )


def write_hashed(adapter: Adapter, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write the tensors, and in the header the hashes by which web UIs know the file."""
    write_tensors(path, tensors, with_hashes(tensors, adapter.metadata))
