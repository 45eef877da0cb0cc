"""Which scratch folders belong to a process that still lives: the system gives a lock back when its process ends.

Unix locks the folder itself. Windows locks no folders, but removes no file that is open: there an open file in the
folder says that it is in use.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MARK = "in-use"


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """One process at a time, where the system can lock folders."""
    lock = None if fcntl is None else _flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _close(lock)


def claim(scratch: Path) -> int | None:
    """Say that a new folder is in use; the descriptor is for `discard`. None where the system cannot lock."""
    return _flock(scratch, fcntl.LOCK_EX) if fcntl is not None else _mark(scratch)


def claim_left(scratch: Path) -> int | None:
    """Take over the folder of a process that is gone; None where it lives, or nobody can tell."""
    if fcntl is not None:
        return _flock(scratch, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        (scratch / _MARK).unlink()
    except OSError:
        return None
    return _mark(scratch)


def discard(scratch: Path, lock: int | None) -> None:
    """Remove a claimed folder; what an open mark keeps there goes once that is closed."""
    shutil.rmtree(scratch, ignore_errors=True)
    _close(lock)
    shutil.rmtree(scratch, ignore_errors=True)


def _flock(folder: Path, how: int) -> int | None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, how)
            return descriptor
        except OSError:
            os.close(descriptor)
    return None


def _mark(scratch: Path) -> int | None:
    with suppress(OSError):
        return os.open(scratch / _MARK, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    return None


def _close(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
