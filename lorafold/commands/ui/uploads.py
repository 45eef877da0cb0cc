"""Files that a browser has sent: what they are called on the page, and where they lie under names of ours."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lorafold.adapters import Adapter, load
from lorafold.common.errors import LorafoldError
from lorafold.common.text import printable

_CONFIG = "adapter_config.json"  # half of a PEFT adapter
_KINDS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt")  # pickles, for the reader to refuse by name


@dataclass(frozen=True)
class Upload:
    """A file or folder that takes part.

    Args:
        name: as whoever sent it calls it; only to be shown.
        path: where it lies.
    """

    name: str
    path: Path

    def load(self) -> Adapter:
        """The adapter under its name on the page, which metadata and messages then tell."""
        return replace(load(self.path), path=Path(self.name))


def adapters_of(files: Sequence[Path], place: Path) -> list[Upload]:
    """The adapters among files that were dropped together, moved to `place`: one each, or both files of PEFT's.

    Raises:
        LorafoldError: half a PEFT adapter, or several at once; or a file that is no longer there.
    """
    weights = [file for file in files if file.name != _CONFIG]
    if len(weights) == len(files):
        return [_moved(file, place / str(number)) for number, file in enumerate(files)]
    if len(files) != 2 or len(weights) != 1:
        raise LorafoldError(
            f"{_CONFIG} beside {len(weights)} other files",
            remedy="Drop the two files of one PEFT adapter together, then those of the next.",
        )
    for file in files:
        _move(file, place / (_CONFIG if file.name == _CONFIG else "adapter_model.safetensors"))
    return [Upload("PEFT adapter", place)]


def files_of(files: Sequence[Path], place: Path) -> list[Upload]:
    """Each file on its own, moved to `place`."""
    return [_moved(file, place / str(number)) for number, file in enumerate(files)]


def named(uploads: Sequence[Upload], more: Sequence[Upload]) -> list[Upload]:
    """The uploads and more of them; of those with one name, the later ones are numbered."""
    result = list(uploads)
    for upload in more:
        path, names = Path(upload.name), {each.name for each in result}
        numbered = (f"{path.stem} ({count}){path.suffix}" for count in range(2, len(result) + 3))
        name = next(name for name in (upload.name, *numbered) if name not in names)
        result.append(replace(upload, name=name))
    return result


def in_their_names(text: str, uploads: Sequence[Upload]) -> str:
    """A message in which files are called as on the page."""
    for upload in uploads:
        text = text.replace(str(upload.path), upload.name)
    return text


def _moved(file: Path, place: Path) -> Upload:
    suffix = file.suffix.lower()
    target = place / f"adapter{suffix if suffix in _KINDS else '.safetensors'}"
    _move(file, target)
    return Upload(printable(file.name, 80), target)


def _move(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.move(file, target)
        with suppress(OSError):  # the folder that Gradio made for it
            file.parent.rmdir()
    except OSError as error:
        raise LorafoldError(f"{printable(file.name, 80)} has not arrived", remedy="Drop it again.") from error
