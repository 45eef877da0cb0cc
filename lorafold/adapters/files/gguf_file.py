"""GGUF files, llama.cpp's, read as views of a memory map.

Layout: "GGUF", version, counts of tensors and of entries, the entries, names with shapes and offsets, then the data. A
header can claim anything, so that every length is checked against the file before it is used, and nothing is as large
as it says. Source: `docs/gguf.md` of ggml.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.common.errors import LorafoldError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_AXES, _LONGEST_AXIS = 4, 2**40
_LONGEST_NAME = 1000
# Codes of the types of entries, as `struct` knows them; further ones are texts and arrays.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
# Codes of the types of tensors that are no quantised ones.
_FLOATS = {0: torch.float32, 1: torch.float16, 28: torch.float64, 30: torch.bfloat16}
_ALIGNMENT = "general.alignment"


def is_gguf(path: Path) -> bool:
    """By its first bytes, whatever its name says."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:  # said by who opens it
        return False


def open_gguf(path: Path) -> TensorFile:
    """Map a GGUF file; entries that are texts or numbers are its metadata, of arrays the number of elements.

    Raises:
        LorafoldError: damaged, of an unknown version, or quantised in a way that cannot be undone here.
    """
    header = _Header(path, np.memmap(path, np.uint8, mode="c"), len(_MAGIC))
    version = header.number("I")
    if version not in _VERSIONS:
        raise LorafoldError(
            f"version {version} of GGUF, expected 2 or 3 in little-endian order",
            path=path,
            remedy="Convert the adapter again with a current llama.cpp.",
        )
    tensors, entries = header.number("Q"), header.number("Q")
    metadata = header.pairs(entries, lambda: _value(header, header.number("I")))
    places = header.pairs(tensors, lambda: _place(header))
    if not places:
        raise LorafoldError("the file holds no tensors", path=path, remedy="Download or export it again.")
    start = _aligned(header, metadata)
    return TensorFile(path, {key: place.tensor(header, key, start) for key, place in places.items()}, metadata)


@dataclass
class _Header:
    """Reads one thing after the other, and never past the end of the file."""

    path: Path
    bytes: np.ndarray[Any, Any]
    at: int

    def number(self, code: str) -> Any:
        (value,) = struct.unpack(f"<{code}", bytes(self.take(struct.calcsize(f"<{code}"))))
        return value

    def text(self) -> str:
        return bytes(self.take(self.number("Q"))).decode(errors="replace")

    def take(self, size: int) -> np.ndarray[Any, Any]:
        if size > len(self.bytes) - self.at:
            raise self.damaged(f"ends in the middle of its header, or says that {size} bytes follow")
        self.at += size
        return self.bytes[self.at - size : self.at]

    def pairs(self, count: int, value: Callable[[], Any]) -> dict[str, Any]:
        """So many names with what follows each of them."""
        values: dict[str, Any] = {}
        for _ in range(count):
            name = self.text()
            if name in values or len(name) > _LONGEST_NAME:
                raise self.damaged(f"{name[:100]!r} there twice, or longer than {_LONGEST_NAME} characters")
            values[name] = value()
        return values

    def damaged(self, problem: str) -> LorafoldError:
        return LorafoldError(
            problem, path=self.path, remedy="The file is damaged or incomplete: download or export it again."
        )


def _value(header: _Header, code: int) -> str:
    if code in _NUMBERS:
        return repr(header.number(_NUMBERS[code]))
    if code == _TEXT:
        return header.text()
    if code != _ARRAY:
        raise header.damaged(f"an entry of the unknown type {code}")
    kind, count = header.number("I"), header.number("Q")
    if kind in _NUMBERS:
        header.take(count * struct.calcsize(_NUMBERS[kind]))
    elif kind == _TEXT:
        for _ in range(count):
            header.text()
    else:
        raise header.damaged(f"an array of the unknown type {kind}")
    return f"{count} elements"


@dataclass(frozen=True)
class _Place:
    """Where a tensor is: its shape, the code of its type, and its offset behind the header."""

    shape: tuple[int, ...]
    code: int
    offset: int

    def tensor(self, header: _Header, key: str, start: int) -> Tensor:
        dtype = _FLOATS.get(self.code)
        size = prod(self.shape) * dtype.itemsize if dtype else _packed_size(header, key, self)
        begin = start + self.offset
        if begin + size > len(header.bytes):
            raise header.damaged(f"{key}: {size} bytes at {begin} of {len(header.bytes)}")
        data = header.bytes[begin : begin + size]
        return _floats(data, dtype).reshape(self.shape) if dtype else _unpacked(header, key, data, self)


def _place(header: _Header) -> _Place:
    axes = header.number("I")
    if axes > _MOST_AXES:
        raise header.damaged(f"a tensor of {axes} axes")
    shape = tuple(header.number("Q") for _ in range(axes))
    if not all(0 < size <= _LONGEST_AXIS for size in shape):
        raise header.damaged(f"a tensor of shape {shape[::-1]}")
    return _Place(shape[::-1], header.number("I"), header.number("Q"))


def _aligned(header: _Header, metadata: dict[str, str]) -> int:
    """Where the data begins."""
    given = metadata.get(_ALIGNMENT, "32")
    if not given.isdecimal() or not 0 < int(given) <= len(header.bytes):
        raise header.damaged(f"{_ALIGNMENT} {given}")
    return header.at + -header.at % int(given)


def _floats(data: np.ndarray[Any, Any], dtype: torch.dtype) -> Tensor:
    """A view where the data is aligned, else a copy."""
    raw = torch.from_numpy(data)
    return (raw if data.ctypes.data % dtype.itemsize == 0 else raw.clone()).view(dtype)


def _packed_size(header: _Header, key: str, place: _Place) -> int:
    """Of a quantised tensor, in bytes."""
    try:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError:
        raise LorafoldError(
            "quantised, which only the package gguf can undo",
            path=header.path,
            key=key,
            remedy="pip install 'lorafold[gguf]', or convert the adapter again with --outtype f32.",
        ) from None
    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(place.code)]
    except ValueError:
        raise header.damaged(f"{key}: of the unknown type {place.code}") from None
    if not place.shape or place.shape[-1] % block:
        raise header.damaged(f"{key}: shape {place.shape} in blocks of {block}")
    return prod(place.shape) // block * size


def _unpacked(header: _Header, key: str, data: np.ndarray[Any, Any], place: _Place) -> Tensor:
    """The numbers that a quantised tensor stands for, float32."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    packed = data.reshape(*place.shape[:-1], -1)
    kind = GGMLQuantizationType(place.code)
    try:
        return torch.from_numpy(dequantize(packed, kind))
    except NotImplementedError:
        raise LorafoldError(
            f"type {kind.name}, which the package gguf cannot undo",
            path=header.path,
            key=key,
            remedy="Convert the adapter again with --outtype f32.",
        ) from None
