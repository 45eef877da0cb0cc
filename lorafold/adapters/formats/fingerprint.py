"""What an adapter is on disk, in one number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from lorafold.adapters.files.open_adapter import open_adapter
from lorafold.adapters.formats.registry import format_of
from lorafold.common.errors import LorafoldError

_CHUNK = 1 << 20


def fingerprint(path: str | Path) -> str:
    """SHA-256, in hex, of the bytes of an adapter's files: of a single file what `sha256sum` prints, of a PEFT adapter
    that of adapter_config.json followed by the tensors.

    Raises:
        LorafoldError: no adapter of a known format at `path`.
    """
    return _sha256(_files(path))


def file_sha256(path: str | Path) -> str | None:
    """SHA-256, in hex, of the bytes of any file; None of one that cannot be read."""
    try:
        return _sha256([Path(path)])
    except OSError:
        return None


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def unchanged(paths: Sequence[str | Path], files: Sequence[Path] = ()) -> Iterator[None]:
    """Raise LorafoldError if a file of these adapters changes before the block ends: what was read may be of two ages.

    It is size, time of change and identity of the files that are compared.

    Args:
        files: others beside the adapters'.
    """
    states = [(path, partial(_state, path)) for path in paths] + [(file, partial(_own_state, file)) for file in files]
    before = [state() for _, state in states]
    yield
    for (path, state), then in zip(states, before, strict=True):
        if state() != then:
            raise LorafoldError(
                "changed while it was read", path=path, remedy="Run again when nothing writes to it any more."
            )


def _files(path: str | Path) -> list[Path]:
    """The files of an adapter that are there: `load` is the one to refuse an incomplete one."""
    file = open_adapter(path)
    companions = [file.path.parent / name for name in format_of(file).companions]
    return [*filter(Path.is_file, companions), *file.files]


def _state(path: str | Path) -> list[tuple[str, int, int, int]] | None:
    """None where there is no adapter, or no longer one."""
    try:
        return [_stat(file) for file in _files(path)]
    except (LorafoldError, OSError):
        return None


def _own_state(file: Path) -> tuple[str, int, int, int] | None:
    try:
        return _stat(file)
    except OSError:
        return None


def _stat(file: Path) -> tuple[str, int, int, int]:
    found = file.stat()
    return file.name, found.st_size, found.st_mtime_ns, found.st_ino
