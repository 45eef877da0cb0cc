"""The registry of formats: one frozen record each, entered by a decorator on the format's reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.files.foreign import recognised
from lorafold.adapters.files.locate import TENSORS_NAME
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.formats.refusals import known_variant
from lorafold.common.errors import LorafoldError
from lorafold.common.registry import Registry

Detect = Callable[[Collection[str]], bool]
Read = Callable[[TensorFile], Adapter]
Tensors = Callable[[Adapter], dict[str, Tensor]]
Write = Callable[[Adapter, Mapping[str, Tensor], Path], None]


@dataclass(frozen=True)
class Format:
    """How one family of files is told apart, read and written.

    Args:
        name: key in `FORMATS` and `Adapter.format`.
        detect: whether these tensor names are of this format.
        read: the adapter in an open file of this format.
        tensors: an adapter's tensors by the keys and in the shapes of this format; views where possible.
        write: puts an adapter, its tensors given, at a path that does not exist yet.
        companions: names of the files beside the tensors; with any, an adapter is a folder.
        described: names of further files in such a folder that are lorafold's own, so that they may be replaced.
        file: name of the tensors in such a folder.
        suffix: of a single file.
        holds: of `CONTENTS`, what a file of this format has a place for beside factors and scales.
        style: key of `STYLES`, how its modules are spelled; None: a conversion leaves their names as they are.
        one_model: whether a file is for one model, not for all of a pipeline.
    """

    name: str
    detect: Detect
    read: Read
    tensors: Tensors
    write: Write
    companions: tuple[str, ...] = ()
    described: Callable[[Path], Collection[str]] = lambda folder: ()
    file: str = TENSORS_NAME
    suffix: str = ".safetensors"
    holds: Collection[str] = ()
    style: str | None = None
    one_model: bool = False

    def named(self, stem: str) -> str:
        """The name of a folder, or of a file, for an adapter of this format."""
        return stem if self.companions else stem + self.suffix


# What an adapter may have beside factors and scales, in the words of messages.
CONTENTS = ("an additive tensor", "a LoRA bias", "an embedding", "a whole weight")
FORMATS: Registry[Format] = Registry("format", "lorafold.formats")


def format(name: str, *, detect: Detect, tensors: Tensors, write: Write, **flags: Any) -> Callable[[Read], Read]:
    """Register a format by its reader; the arguments and flags are fields of `Format`."""

    def register(read: Read) -> Read:
        FORMATS.add(name, Format(name, detect, read, tensors, write, **flags), read)
        return read

    return register


def format_of(file: TensorFile) -> Format:
    """The format that recognises the tensor names of `file`; those of other packages are asked after lorafold's own.

    Raises:
        LorafoldError: no format does.
    """
    for form in FORMATS.values():
        if form.detect(file.tensors.keys()):
            return form
    for key in file.tensors:
        if error := known_variant(file.path, key):
            raise error
    if error := recognised(file.path, file.tensors.keys()):
        raise error
    examples = ", ".join(list(file.tensors)[:3])
    raise LorafoldError(
        f"its tensor names ({examples}, ...) are of no known format; known: {', '.join(FORMATS)}",
        path=file.path,
        remedy="Convert it to one of these formats with the tool that wrote it.",
    )


def check_finite(adapter: Adapter) -> None:
    """Raise LorafoldError for the first tensor that holds NaN or Inf, by file and key."""
    check_tensors(
        FORMATS[adapter.format].tensors(adapter), adapter.path, "Training diverged; use an earlier checkpoint."
    )
