"""What files of kohya and ComfyUI share: parts of layers, additive tensors beside them, hashes in the header."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import floating
from lorafold.adapters.files.tensor_file import TensorFile, storable
from lorafold.adapters.files.webui_hashes import write_with_hashes
from lorafold.adapters.formats.refusals import unsupported
from lorafold.adapters.module import Module
from lorafold.common.errors import LorafoldError

# A textual inversion that lies in the same file.
BUNDLED = "bundle_emb."
# Differences of whole weights, biases and norms; every consumer adds them to the base, unscaled.
DELTA = re.compile(r".+\.(?:diff|diff_[bm]|w_norm|b_norm)")

Split = Callable[[str], tuple[str, str] | None]  # key -> name of the module, part


class Sorted(NamedTuple):
    """The tensors of a file by what they are."""

    parts: dict[str, dict[str, str]]  # module -> part -> key
    deltas: dict[str, Tensor]
    extras: dict[str, Tensor]


def sort_tensors(file: TensorFile, split: Split) -> Sorted:
    """The keys of every module by part, the additive tensors, and embeddings that lie beside them.

    Raises:
        LorafoldError: a tensor that is none of these.
    """
    parts: dict[str, dict[str, str]] = {}
    deltas: dict[str, Tensor] = {}
    extras: dict[str, Tensor] = {}
    for key, tensor in file.tensors.items():
        if names := split(key):
            parts.setdefault(names[0], {})[names[1]] = key
        elif DELTA.fullmatch(key):
            deltas[key] = floating(file, key)
        elif key.startswith(BUNDLED):
            extras[key] = storable(file.path, key, tensor)
        else:
            raise unsupported(file.path, key)
    return Sorted(parts, deltas, extras)


def sort_parts(file: TensorFile, pattern: re.Pattern[str]) -> dict[str, dict[str, str]]:
    """The keys of every module by part, in a file of nothing else; the pattern has the groups `name` and `part`.

    Raises:
        LorafoldError: another tensor.
    """
    parts: dict[str, dict[str, str]] = {}
    for key in file.tensors:
        match = pattern.fullmatch(key)
        if match is None:
            raise unsupported(file.path, key)
        parts.setdefault(match["name"], {})[match["part"]] = key
    return parts


def check_linear(adapter: Adapter, file: str, kinds: Collection[str] = ("linear",)) -> None:
    """Refuse what is beside the factors of linear layers, and layers of other `kinds`."""
    for key in (*adapter.deltas, *adapter.extras):
        raise LorafoldError(f"{file} holds LoRA factors only", key=key, remedy="Save in the input's format.")
    for module in adapter.modules.values():
        if module.bias is not None or module.kind not in kinds:
            what = "a LoRA bias" if module.bias is not None else f"a layer of kind {module.kind}"
            raise LorafoldError(f"{what}, which {file} cannot hold", key=module.name, remedy="Save as PEFT.")


def check_extras(adapter: Adapter, file: str) -> None:
    """Refuse what such a file has no place for; `file` says which, as in `a kohya file`."""
    for key in adapter.extras:
        if not key.startswith(BUNDLED):
            raise LorafoldError(f"{file} cannot hold whole weights", key=key, remedy="Save as PEFT.")


def check_module(module: Module, file: str) -> None:
    """Likewise of one module."""
    if module.bias is not None or module.kind == "embedding":
        raise LorafoldError(
            f"{file} can hold neither a LoRA bias nor an embedding", key=module.name, remedy="Save as PEFT."
        )


def write_hashed(adapter: Adapter, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write the tensors, and in the header the hashes by which web UIs know the file."""
    write_with_hashes(path, tensors, adapter.metadata)
