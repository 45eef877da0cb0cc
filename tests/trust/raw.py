"""A safetensors file in parts, so that each of them can be wrong.

The file is the size of the header (8 bytes, little-endian), the header (JSON: dtype, shape and offsets by key), and the
numbers one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
}


@dataclass
class Entry:
    """One tensor: what the header says of it, and its bytes.

    Args:
        shift: what its offsets lie by.
    """

    key: str
    dtype: str
    shape: list[Any]
    data: bytes
    shift: tuple[int, int] = (0, 0)


@dataclass
class Raw:
    """A file: keys may repeat, and nothing need fit together."""

    entries: list[Entry] = field(default_factory=list)
    metadata: Any = None

    def keys(self) -> list[str]:
        return [entry.key for entry in self.entries]

    def header(self) -> bytes:
        """JSON, written by hand where a dictionary could not hold it."""
        parts = [] if self.metadata is None else [f'"__metadata__":{json.dumps(self.metadata)}']
        end = 0
        for entry in self.entries:
            start, end = end, end + len(entry.data)
            offsets = [start + entry.shift[0], end + entry.shift[1]]
            told = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": offsets}
            parts.append(f"{json.dumps(entry.key)}:{json.dumps(told)}")
        return ("{" + ",".join(parts) + "}").encode()

    def pack(self) -> bytes:
        return packed(self.header(), b"".join(entry.data for entry in self.entries))


def packed(header: bytes, payload: bytes = b"", size: int | None = None) -> bytes:
    """A file with this header, and `size` as what it says of the header's size."""
    return (len(header) if size is None else size).to_bytes(8, "little") + header + payload


def entry(key: str, tensor: Tensor) -> Entry:
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return Entry(key, DTYPES[tensor.dtype], list(tensor.shape), data)


def raw(tensors: Iterable[tuple[str, Tensor]], metadata: Any = None) -> Raw:
    """A sound file."""
    return Raw([entry(key, tensor) for key, tensor in tensors], metadata)
