"""What an adapter is on disk, in one number."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lorafold.adapters.locate import locate
from lorafold.adapters.registry import format_of
from lorafold.adapters.tensor_file import open_tensors

_CHUNK = 1 << 20


def fingerprint(path: str | Path) -> str:
    """SHA-256, in hex, of the bytes of an adapter's files: of a single file what `sha256sum` prints, of a PEFT adapter
    that of adapter_config.json followed by the tensors.

    Raises:
        LorafoldError: no adapter of a known format at `path`.
    """
    tensors = locate(path)
    companions = [tensors.parent / name for name in format_of(open_tensors(tensors)).companions]
    digest = hashlib.sha256()
    for file in (*filter(Path.is_file, companions), tensors):  # `load` is the one to refuse an incomplete adapter
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
