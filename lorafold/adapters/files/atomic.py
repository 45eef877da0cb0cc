"""A file or folder appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lorafold.adapters.files.locks import claim, claim_left, discard, one_at_a_time

_SCRATCH, _OLD = ".lorafold-", "old"


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a path to write at; it becomes `target` when the block ends, and nothing remains if the block fails.

    It lies in a scratch folder `.lorafold-*` beside `target`, hence on the same disk. An existing file is replaced in
    one step; an existing folder is moved into the scratch folder first, and back if the second step fails. A process
    locks its scratch folder, so that the next one to write there can tell, and remove, what a killed one left. Of
    several that write one target at once, the last one's is there in the end.
    """
    with _scratch_beside(target) as scratch:
        yield scratch / "new"
        for path in scratch.rglob("*"):
            _sync(path)
        with one_at_a_time(target.parent):
            if target.is_dir():
                _exchange(scratch / "new", target, scratch / _OLD / target.name)
            else:
                (scratch / "new").replace(target)
        _sync(target.parent)


def remove(target: Path) -> None:
    """Remove a file or folder, if there is one, in one step: no half of a folder is ever left under its name."""
    if target.exists():
        with _scratch_beside(target) as scratch:
            target.replace(scratch / "gone")


@contextmanager
def _scratch_beside(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f"{_SCRATCH}{secrets.token_hex(8)}"
    with one_at_a_time(target.parent):
        _clean(target)
        scratch.mkdir()
        lock = claim(scratch)
    try:
        yield scratch
    finally:
        discard(scratch, lock)


def write_text(path: Path, text: str) -> None:
    """Write a text in one step, with the same bytes on every system; names of files may hold what is no Unicode."""
    with staged(path) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def _clean(target: Path) -> None:
    """Remove the scratch folders beside `target` whose processes are gone.

    Where one was killed between the two steps that replace a folder, of whichever name, the second step is done first:
    what it had written was complete, and the name must not be lost.
    """
    for scratch in target.parent.glob(f"{_SCRATCH}*"):
        lock = claim_left(scratch)
        if lock is not None:
            new, old = scratch / "new", scratch / _OLD
            for name in (path.name for path in old.iterdir()) if new.exists() and old.exists() else ():
                if not (target.parent / name).exists():
                    new.replace(target.parent / name)
            discard(scratch, lock)


def _exchange(new: Path, target: Path, old: Path) -> None:
    """Move `target` to `old` and `new` to `target`; a folder cannot be replaced in one step."""
    old.parent.mkdir()
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
