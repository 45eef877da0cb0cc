"""A copy of a whole model in which some tensors are others: written one at a time."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from lorafold.adapters.checkpoints.checkpoint import Checkpoint, Stored
from lorafold.adapters.metadata.header import HASHES
from lorafold.common.errors import LorafoldError

# Bytes at a time: one write of a whole tensor takes Linux three times as long, to find memory in one piece.
_CHUNK = 1 << 20


def write_changed(
    checkpoint: Checkpoint,
    names: Set[str],
    change: Callable[[Sequence[str]], Generator[Tensor]],
    target: Path,
) -> None:
    """Copy the model to `target`, a file or a folder that is not there yet.

    All other tensors, and the other files that belong to the model, keep their bytes; of headers only hashes of the
    tensors go, which would be wrong.

    Args:
        names: of the tensors that change.
        change: from all of them, in the order in which they are written, to the new ones, of the same dtype and shape.

    Raises:
        OSError: the disk refuses.
    """
    entries: dict[Path, dict[str, Stored]] = defaultdict(dict)
    for name, entry in sorted(checkpoint.tensors.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        entries[entry.file][name] = entry
    source, files = checkpoint.path, checkpoint.files
    ordered = [name for file in files.tensors for name in entries[file] if name in names]
    with closing(change(ordered)) as changed:
        for file in (*files.companions, *files.tensors):
            place = target / file.relative_to(source) if source.is_dir() else target
            place.parent.mkdir(parents=True, exist_ok=True)
            if names.isdisjoint(entries[file]):
                shutil.copyfile(file, place)
            else:
                _write(file, place, entries[file], names, changed)


def _write(
    source: Path, target: Path, entries: Mapping[str, Stored], names: Set[str], changed: Iterator[Tensor]
) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        size = int.from_bytes(old.read(8), "little")
        header = _without_hashes(old.read(size))
        new.write(len(header).to_bytes(8, "little") + header)
        for name, entry in entries.items():
            if name in names:
                _write_tensor(new, next(changed), entry)
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


def _write_tensor(new: BinaryIO, tensor: Tensor, entry: Stored) -> None:
    assert (tensor.dtype, tuple(tensor.shape)) == (entry.dtype, entry.shape)
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
    for first in range(0, len(data), _CHUNK):
        new.write(data[first : first + _CHUNK])


def _copy(old: BinaryIO, new: BinaryIO, entry: Stored) -> None:
    old.seek(entry.start)
    left = entry.nbytes
    while left:
        chunk = old.read(min(left, _CHUNK))
        if not chunk:
            raise LorafoldError("became shorter", path=entry.file, key=entry.key, remedy="Run again.")
        new.write(chunk)
        left -= len(chunk)
