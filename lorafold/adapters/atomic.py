"""A file or folder appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a path to write at; it becomes `target` when the block ends, and nothing remains if the block fails.

    It lies in a scratch folder `.lorafold-*` beside `target`, hence on the same disk. An existing file is replaced in
    one step; an existing folder is moved into the scratch folder first, and back if the second step fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f".lorafold-{secrets.token_hex(8)}"
    scratch.mkdir()
    try:
        yield scratch / "new"
        for path in scratch.rglob("*"):
            _sync(path)
        if target.is_dir():
            _exchange(scratch / "new", target, scratch / "old")
        else:
            (scratch / "new").replace(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _exchange(new: Path, target: Path, old: Path) -> None:
    """Move `target` to `old` and `new` to `target`; a folder cannot be replaced in one step."""
    target.replace(old)
    try:
        new.replace(target)
    except BaseException:
        old.replace(target)
        raise


def _sync(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's entries where the system can do that (Windows cannot)."""
    if path.is_file():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        return
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
