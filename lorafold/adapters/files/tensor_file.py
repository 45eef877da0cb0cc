"""Safetensors files: read as views of a memory map, written with reproducible bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lorafold.adapters.files.foreign import mistaken
from lorafold.common.errors import LorafoldError

# In the order in which safetensors' own writer puts dtypes: larger ones first, so that every tensor is aligned.
_DTYPE_NAMES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# No layer has more; torch can handle 64.
_MOST_AXES = 8
# Characters. Real names are shorter than 200.
_LONGEST_NAME = 1000
_PLACES = {dtype: place for place, dtype in enumerate(_DTYPE_NAMES)}


@dataclass(frozen=True)
class TensorFile:
    """An open file of tensors, which are views of the memory map, in the order of the file.

    Args:
        path: of the file; of the first one where there are several.
        tensors: by key.
        metadata: texts in the header.
        shards: all files, where there are several.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    shards: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the tensors are in."""
        return self.shards or (self.path,)


def open_tensors(path: Path) -> TensorFile:
    """Map a safetensors file; the library checks header, dtypes, shapes and offsets against the file's size.

    Raises:
        LorafoldError: not readable, empty, truncated, or not a safetensors file; a name that is there twice or absurdly
            long; a tensor of too many axes, or of a dtype that torch lacks.
    """
    try:
        if path.stat().st_size == 0:
            raise LorafoldError("the file is empty", path=path, remedy="Download or export it again.")
        with safe_open(path, framework="pt") as file:
            tensors = {key: _tensor(file, path, key) for key in file.offset_keys()}
            metadata = file.metadata() or {}
    except LorafoldError:
        raise
    # torch has its own errors for shapes beyond its integers
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise _mistaken(path) or LorafoldError(
            f"not a readable, complete safetensors file ({error})",
            path=path,
            remedy="Download or export it again (an interrupted download looks like this).",
        ) from error
    if not tensors:
        raise LorafoldError("the file holds no tensors", path=path, remedy="Download or export it again.")
    _check_names(path, tensors)
    return TensorFile(path, tensors, metadata)


def _mistaken(path: Path) -> LorafoldError | None:
    try:
        return mistaken(path)
    except OSError:
        return None


def _tensor(file: Any, path: Path, key: str) -> Tensor:
    """A view of the tensor; dtypes younger than the installed torch (F8_E8M0: 2.7, F4: 2.8) are no attribute of it."""
    try:
        return file.get_tensor(key)
    except AttributeError as error:
        raise LorafoldError(
            f"a dtype that torch {torch.__version__} lacks ({error})",
            path=path,
            key=key,
            remedy="Export the adapter without quantisation.",
        ) from error


def _check_names(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """What the library lets pass: names that are there twice, of which it takes the last, or absurd."""
    for key, tensor in tensors.items():
        if len(key) > _LONGEST_NAME or tensor.ndim > _MOST_AXES:
            raise _damaged(
                path, key, f"a name of {len(key)} characters for {tensor.ndim} axes, expected at most "
                f"{_LONGEST_NAME} and {_MOST_AXES}"
            )  # fmt: skip
    _, stated = _stated(path, tuple)
    twice = [key for key, count in Counter(key for key, _ in stated).items() if count > 1]
    if twice:
        raise _damaged(path, twice[0], "there twice in the header")


def offsets(path: Path) -> dict[str, int]:
    """Where the bytes of each tensor begin, in a file that `open_tensors` has checked."""
    start, stated = _stated(path, dict)
    return {key: start + entry["data_offsets"][0] for key, entry in stated.items() if key != "__metadata__"}


def _stated(path: Path, pairs: Callable[[Any], Any]) -> tuple[int, Any]:
    """Where the data begin, and the header, its objects made by `pairs`."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return 8 + size, json.loads(file.read(size), object_pairs_hook=pairs)


def _damaged(path: Path, key: str, problem: str) -> LorafoldError:
    return LorafoldError(problem, path=path, key=key, remedy="The file is damaged: download or export it again.")


def storable(path: Path, key: str, tensor: Tensor) -> Tensor:
    """The tensor, which is to be carried to another file.

    Raises:
        LorafoldError: its dtype is one of packed numbers, which torch cannot tell apart.
    """
    if tensor.dtype not in _PLACES:
        raise LorafoldError(
            f"dtype {tensor.dtype}, which cannot be carried", path=path, key=key, remedy="Remove this tensor."
        )
    return tensor


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    final: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Write a safetensors file: the same content gives the same bytes.

    They are those of safetensors' own writer, but that one puts the metadata in random order.

    Args:
        final: what the metadata are in the end, as long as `metadata` in the file; asked when the tensors are written.
    """
    with path.open("wb") as file:
        for chunk in serialised(tensors, metadata):
            file.write(chunk)
        if final:
            file.seek(0)
            for chunk in islice(serialised(tensors, final()), 2):
                file.write(chunk)


def serialised(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The bytes of the file in parts: size of the header, header, then one part per tensor, by dtype and name."""
    ordered = dict(sorted(tensors.items(), key=lambda item: (_PLACES[item[1].dtype], item[0])))
    header = _header(ordered, metadata)
    yield len(header).to_bytes(8, "little")
    yield header
    for tensor in ordered.values():
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """JSON of dtype, shape and offsets of each tensor, padded with spaces to a multiple of 8 bytes."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for key, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[key] = {"dtype": _DTYPE_NAMES[tensor.dtype], "shape": [*tensor.shape], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    return text + b" " * (-len(text) % 8)
