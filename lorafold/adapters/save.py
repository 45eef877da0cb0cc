"""Writing: refuse what would lose something, then write whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, cast

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.atomic import staged
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.formats.registry import FORMATS, Format
from lorafold.adapters.readers import warn_of_readers
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home


class Result(Protocol):
    """What a verb returns: it writes its adapter itself, and not over its inputs."""

    def save(self, path: str | Path) -> Path: ...


def save(adapter: Adapter | Result, path: str | Path, *, forbid: Collection[str | Path] = ()) -> Path:
    """Write an adapter in its own format, or that of a result, which overwrites none of its inputs.

    The scale goes into alpha and the factors keep their bits; where a format has no alpha that every reader of it
    understands (diffusers, ComfyUI), the scale is folded into the factors.

    Args:
        adapter: with finite factors and scales and at least one module; or what `merge`, `resize` or `convert` returns.
        path: PEFT, MLX and torchtune: a folder, else a file `*.safetensors` or `*.gguf`. An existing file is replaced,
            an existing folder only if it holds nothing but such an adapter.
        forbid: files and folders, such as the inputs, that must not be overwritten, by whatever name.

    Returns:
        What was written: `path`, with `~` expanded.

    Raises:
        LorafoldError: one of the above does not hold, or the disk refuses.
    """
    target = with_home(path)
    if not isinstance(adapter, Adapter):
        check_not_input(target, forbid)
        return _result(adapter, target).save(target)
    with saving(adapter, path, forbid=forbid):
        return target


@contextmanager
def saving(adapter: Adapter, path: str | Path, *, forbid: Collection[str | Path] = ()) -> Iterator[None]:
    """Write an adapter beside `path`, where it is when the block ends, unless that fails: see `save`."""
    target, form = with_home(path), FORMATS[adapter.format]
    _check_modules(adapter, target)
    _check_kind(form, target)
    check_not_input(target, forbid)
    tensors = form.tensors(adapter)
    check_tensors(tensors, target, "The merged numbers are too large for the dtype: save as float32 or bfloat16.")
    try:
        with staged(target) as scratch:
            form.write(adapter, tensors, scratch)
            yield
    except OSError as error:
        raise LorafoldError(
            f"cannot be written ({error})",
            path=target,
            remedy="Check free space and permissions; Windows replaces no file whose tensors are still in use.",
        ) from error
    warn_of_readers(adapter, target)


def _result(value: object, target: Path) -> Result:
    if hasattr(value, "save"):
        return cast(Result, value)
    raise LorafoldError(
        f"{type(value).__name__} given, expected an adapter or a result that has one",
        path=target,
        remedy="Give the result of merge, resize or convert, or one of result.adapters after align.",
    )


def _check_modules(adapter: Adapter, target: Path) -> None:
    if not adapter.modules:
        raise LorafoldError("an adapter without modules cannot be saved", path=target, remedy="Check the inputs.")
    for module in adapter.modules.values():
        if not math.isfinite(module.scale) or module.up.numel() == 0 or module.down.numel() == 0:
            raise LorafoldError(
                f"scale {module.scale}, shape {module.shape}, rank {module.rank}; expected finite scale, rank >= 1",
                path=target,
                key=module.name,
                remedy="Write a zero update as zeros of rank 1.",
            )


def _check_kind(form: Format, target: Path) -> None:
    """A file for a single-file format, and else a folder in which nothing else would be lost."""
    entries, is_file = _look(target)
    if not form.companions:
        if target.suffix != form.suffix or entries is not None:
            raise LorafoldError(
                f"not a file name for {form.name}",
                path=target,
                remedy=f"Name a file that ends in {form.suffix}; for a folder, convert the adapter to peft.",
            )
    elif target.suffix == ".safetensors" or is_file:
        files = " or ".join(name for name, other in FORMATS.items() if not other.companions and other.style)
        raise LorafoldError(
            f"not a folder name for {form.name}",
            path=target,
            remedy=f"Name a folder; for a single file, convert the adapter to {files}.",
        )
    elif others := sorted((entries or set()) - {form.file, *form.companions, *form.described(target)}):
        raise LorafoldError(
            f"the folder also holds {', '.join(others[:3])}", path=target, remedy="Choose another folder."
        )


def _look(target: Path) -> tuple[set[str] | None, bool]:
    """The names in a folder, None where there is none, and whether a file is there.

    One call, since another run may exchange `target` meanwhile: between two it could be gone.
    """
    try:
        return {entry.name for entry in target.iterdir()}, False
    except FileNotFoundError:
        return None, False
    except NotADirectoryError:
        return None, True
    except OSError as error:
        raise LorafoldError(f"cannot be looked into ({error})", path=target, remedy="Check permissions.") from error


def check_not_input(target: Path, forbid: Collection[str | Path]) -> None:
    """Refuse an output that is one of the inputs, by whatever name."""
    for name in forbid:
        path = with_home(name)
        if _overwrites(target, path):
            raise LorafoldError(
                f"the output is the input {path}, which must not be overwritten",
                path=target,
                remedy="Choose another output path.",
            )


def _overwrites(target: Path, path: Path) -> bool:
    """Whether replacing `target` changes `path`: the same one (by links too), a folder around it, or a file in it."""
    ours, theirs = target.resolve(), path.resolve()
    if ours in (theirs, *theirs.parents):
        return True
    with suppress(FileNotFoundError, NotADirectoryError):
        return target.samefile(path) or (theirs == ours.parent and target.exists())
    return False
