"""A whole model, of which one tensor at a time is in memory: tensors are read, not mapped, so that they can go."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lorafold.adapters.files.model_files import ModelFiles, model_files
from lorafold.adapters.files.tensor_file import TensorFile, offsets, open_tensors
from lorafold.adapters.formats.registry import FORMATS
from lorafold.common.errors import LorafoldError

# Layers are read, and written, in these alone.
PLAIN = frozenset({torch.float64, torch.float32, torch.bfloat16, torch.float16})
# Tensors beside packed weights, by which bitsandbytes, GPTQ, AWQ, compressed-tensors and scaled float8 are known.
_PACKED = {
    ".absmax": "bitsandbytes (4 bits)",
    ".quant_map": "bitsandbytes (4 bits)",
    ".SCB": "bitsandbytes (8 bits)",
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".weight_packed": "compressed-tensors",
    ".weight_scale": "scaled 8 bits",
    ".weight_scale_inv": "scaled float8",
    ".scale_weight": "scaled float8",
}


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor where it lies.

    Args:
        file: that it is in.
        key: its name there.
        dtype, shape: its own, as its header says; the bytes for them are there.
        start: of its first byte, from the beginning of the file.
    """

    file: Path
    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, first: int = 0, last: int | None = None) -> Tensor:
        """Its rows (its entries along the first axis) from `first` up to `last`, in memory of their own.

        Raises:
            LorafoldError: the file has become shorter.
        """
        height = self.shape[0] if self.shape else 1
        last = height if last is None else last
        row = self.nbytes // max(1, height)
        buffer = torch.empty((last - first) * row, dtype=torch.uint8)
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(self.start + first * row)
            view, size = memoryview(buffer.numpy().data), 0
            while size < len(view):
                if not (count := stream.readinto(view[size:])):
                    raise LorafoldError("became shorter", path=self.file, key=self.key, remedy="Run again.")
                size += count
        shape = (last - first, *self.shape[1:]) if self.shape else ()
        return buffer.view(self.dtype).view(shape)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An open model.

    Args:
        files: that it lies in.
        tensors: by name: the component of a pipeline, a dot, and the key; the key alone where there is but one model.
    """

    files: ModelFiles
    tensors: Mapping[str, Stored]

    @property
    def path(self) -> Path:
        """As the user named it."""
        return self.files.path

    def check_plain(self, names: Iterable[str]) -> None:
        """Raise LorafoldError if one of these tensors is quantised."""
        for name in names:
            stored = self.tensors[name]
            if stored.dtype not in PLAIN:
                raise _quantised(stored.file, stored.key, f"dtype {str(stored.dtype).removeprefix('torch.')}")


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a whole model: nothing but the headers of its files is read.

    Raises:
        LorafoldError: see `model_files` and `open_tensors`; an adapter, or a model with packed weights.
    """
    files = model_files(path)
    tensors: dict[str, Stored] = {}
    for component, members in files.weights.items():
        for file in members:
            opened = open_tensors(file)
            _check_whole(opened)
            for name, stored in _entries(opened, f"{component}." if component else ""):
                if name in tensors:
                    raise LorafoldError(
                        "in two shards", path=file, key=stored.key, remedy="These are not the shards of one model."
                    )
                tensors[name] = stored
    for component in files.weights:
        _check_index(files, component, tensors)
    return Checkpoint(files, tensors)


def _entries(opened: TensorFile, prefix: str) -> Iterator[tuple[str, Stored]]:
    starts = offsets(opened.path)
    for key, tensor in opened.tensors.items():
        yield prefix + key, Stored(opened.path, key, tensor.dtype, tuple(tensor.shape), starts[key])


def _check_whole(opened: TensorFile) -> None:
    for form in FORMATS.values():
        if form.detect(opened.tensors.keys()):
            raise LorafoldError(
                f"an adapter ({form.name}), expected a whole model",
                path=opened.path,
                remedy="Adapters go into adapters=; base= and tuned= name models.",
            )
    for key in opened.tensors:
        for end, what in _PACKED.items():
            if key.endswith(end) or (end == ".absmax" and ".quant_state." in key):
                raise _quantised(opened.path, key, what)


def _quantised(path: Path, key: str, what: str) -> LorafoldError:
    return LorafoldError(
        f"quantised weights: {what}",
        path=path,
        key=key,
        remedy="Name the model in float32, bfloat16 or float16, from which this one was made.",
    )


def _check_index(files: ModelFiles, component: str, tensors: Mapping[str, Stored]) -> None:
    """Every tensor that an index names is where it says; else a loader would fill in random numbers."""
    members = files.weights[component]
    indices = [file for file in files.companions if file.parent == members[0].parent and file.name.endswith(".json")]
    for index in (file for file in indices if file.name.endswith(".safetensors.index.json")):
        for key, name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items():
            stored = tensors.get(f"{component}.{key}" if component else key)
            if stored is None or stored.file.name != name:
                raise LorafoldError(
                    f"not in {name}, where the index has it",
                    path=index,
                    key=key,
                    remedy="Download the model again: index and shards are of two versions.",
                )
