"""A copy of a whole model in which some tensors are others: read, changed and written one at a time."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from lorafold.adapters.checkpoints.checkpoint import Checkpoint, Stored
from lorafold.adapters.metadata.header import HASHES
from lorafold.common.errors import LorafoldError

_CHUNK = 1 << 24
Change = Callable[[], Tensor]


def write_changed(checkpoint: Checkpoint, changes: Mapping[str, Change], target: Path) -> None:
    """Copy the model to `target`, a file or a folder that is not there yet.

    All other tensors, and the other files that belong to the model, keep their bytes; of headers only hashes of the
    tensors go, which would be wrong.

    Args:
        changes: by name of the tensor, what gives the new one: of the same dtype and shape.

    Raises:
        OSError: the disk refuses.
    """
    by_file: dict[Path, dict[str, Change]] = defaultdict(dict)
    stored = checkpoint.tensors
    for name, change in changes.items():
        by_file[stored[name].file][stored[name].key] = change
    entries: dict[Path, list[Stored]] = defaultdict(list)
    for entry in stored.values():
        entries[entry.file].append(entry)
    source = checkpoint.path
    if source.is_file():
        _write(source, target, entries[source], by_file[source])
        return
    for file in (*checkpoint.files.companions, *checkpoint.files.tensors):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file in by_file:
            _write(file, place, entries[file], by_file[file])
        else:
            shutil.copyfile(file, place)


def _write(source: Path, target: Path, entries: list[Stored], changes: Mapping[str, Change]) -> None:
    ordered = sorted(entries, key=lambda entry: (entry.start, entry.nbytes))
    with source.open("rb") as old, target.open("wb") as new:
        size = int.from_bytes(old.read(8), "little")
        header = _without_hashes(old.read(size))
        new.write(len(header).to_bytes(8, "little") + header)
        for entry in ordered:
            if change := changes.get(entry.key):
                new.write(_bytes(change(), entry))
            else:
                _copy(old, new, entry)


def _without_hashes(header: bytes) -> bytes:
    """The header as it is where it holds no hashes of the tensors."""
    stated = json.loads(header)
    metadata = stated.get("__metadata__", {})
    kept = {key: value for key, value in metadata.items() if not key.startswith(HASHES)}
    if len(kept) == len(metadata):
        return header
    text = json.dumps({**stated, "__metadata__": kept}, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def _bytes(tensor: Tensor, entry: Stored) -> memoryview:
    assert (tensor.dtype, tuple(tensor.shape)) == (entry.dtype, entry.shape)
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _copy(old: BinaryIO, new: BinaryIO, entry: Stored) -> None:
    old.seek(entry.start)
    left = entry.nbytes
    while left:
        chunk = old.read(min(left, _CHUNK))
        if not chunk:
            raise LorafoldError("became shorter", path=entry.file, key=entry.key, remedy="Run again.")
        new.write(chunk)
        left -= len(chunk)
