"""The hashes by which web interfaces know a file, whatever its names: what they look up instead of reading all of it.

Source: sd-scripts, `library/train_util.py`, `precalculate_safetensors_hashes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from lorafold.adapters.files.tensor_file import serialised, write_tensors

# What the older hash covers of a file.
_LEGACY = range(0x100000, 0x110000)


def write_with_hashes(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file with `with_hashes`, which are taken while it is written."""
    if _training(metadata):
        with ThreadPoolExecutor(1) as pool:
            hashes = pool.submit(with_hashes, tensors, metadata)
            unknown = {**metadata, "sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8}
            write_tensors(path, tensors, unknown, hashes.result)
    else:
        write_tensors(path, tensors, metadata)


def with_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata with `sshs_model_hash` and `sshs_legacy_hash` of these very tensors, as they will be written.

    Both are taken of the file as if it had its training metadata, the entries `ss_*`, alone: so they stay right when
    someone edits the rest. The first is the SHA-256 of what follows the header, the second the first 8 digits of that
    of bytes 0x100000 to 0x10ffff. Metadata without any training entry is returned as it is, for then no tool asks.
    """
    training = _training(metadata)
    if not training:
        return dict(metadata)
    body, legacy = hashlib.sha256(), hashlib.sha256()
    parts = serialised(tensors, training)
    header = next(parts), next(parts)
    for offset, part in _with_offsets(parts, sum(map(len, header))):
        body.update(part)
        legacy.update(_within(part, offset))
    return {**metadata, "sshs_model_hash": body.hexdigest(), "sshs_legacy_hash": legacy.hexdigest()[:8]}


def _training(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.startswith("ss_")}


def _with_offsets(parts: Iterator[bytes | memoryview], start: int) -> Iterator[tuple[int, bytes | memoryview]]:
    for part in parts:
        yield start, part
        start += len(part)


def _within(part: bytes | memoryview, offset: int) -> bytes | memoryview:
    """What a part that begins at `offset` has of the older hash's bytes."""
    return part[max(0, _LEGACY.start - offset) : max(0, _LEGACY.stop - offset)]
