"""Where a command writes its adapter, and what must be true of the place before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from lorafold.adapters import FORMATS
from lorafold.adapters.save import check_not_input
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home


def output_path(folder: Path, base: Path, output: str | None, stem: str, form: str) -> Path:
    """What the user named, as seen from `base`; else a file or folder, whichever the format is, in the run's folder."""
    if output is not None:
        return base / with_home(output)
    return folder / FORMATS[form].named(stem)


def check_output(base: Path, output: str | None, overwrite: bool, read: Collection[str | Path]) -> None:
    """Refuse what `save` could not write, or would write over something.

    Args:
        base: where a relative `output` begins.
        output: what the user named, if anything.
        overwrite: whether something may be there already.
        read: the inputs, which stay as they are in any case.

    Raises:
        LorafoldError: no name, an input, something that exists, or a place where no folder can be.
    """
    if output is None:
        return
    if not output.strip():
        raise LorafoldError(f"output={output!r}, expected a name", remedy="Leave it out for one in the run's folder.")
    if any(character < " " for character in output):
        raise LorafoldError(f"output={output!r}, expected one line", remedy="Write the name without line breaks.")
    target = base / with_home(output)
    try:
        check_not_input(target, read)
        _check_place(target, overwrite)
    except OSError as error:
        raise LorafoldError(
            f"cannot be written ({error.strerror})", path=target, remedy="Choose another output."
        ) from error


def _check_place(target: Path, overwrite: bool) -> None:
    if not overwrite and _holds_anything(target):
        raise LorafoldError("exists already", path=target, remedy="Write overwrite=true, or choose another output.")
    around = next(folder for folder in target.parents if folder.exists())
    if not around.is_dir():
        raise LorafoldError(f"cannot be written ({around} is a file)", path=target, remedy="Choose another output.")
    if not os.access(around, os.W_OK):
        raise LorafoldError(
            f"cannot be written (Permission denied: {around})", path=target, remedy="Choose another output."
        )


def _holds_anything(target: Path) -> bool:
    """A file, or a folder that is not empty."""
    return any(target.iterdir()) if target.is_dir() else target.exists()
