"""Which files a model is, of all that lie in its folder: nothing is taken for weights that its loader would not take.

A model is a safetensors file; a folder of transformers, or one component of a pipeline, with one file or with shards
that an index names; or a pipeline of diffusers, `model_index.json` and a folder for each component.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorafold.adapters.files.foreign import remote
from lorafold.adapters.files.gguf_file import is_gguf
from lorafold.adapters.files.locate import PICKLES, pickle_refused
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home

PIPELINE = "model_index.json"
_INDEX = ".safetensors.index.json"
# What loaders look for where there is no index.
_USUAL = ("model.safetensors", "diffusion_pytorch_model.safetensors")
# Weights in formats that lorafold does not write, which after a change would be those of another model.
_WEIGHTS = PICKLES | {".safetensors", ".gguf", ".h5", ".msgpack", ".onnx", ".onnx_data", ".tflite", ".ot"}
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
# What tools keep in a folder that is no part of the model.
_HIDDEN = frozenset({".git", ".cache", ".huggingface"})


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Args:
        path: file or folder.
        weights: its files of tensors, by component of a pipeline ("unet"); "" where there is but one model.
        companions: everything else that belongs to it (configurations, tokenizers, indices).
        foreign: files of weights in its folder that are not its own: copies in other formats or precisions.
    """

    path: Path
    weights: Mapping[str, tuple[Path, ...]]
    companions: tuple[Path, ...] = ()
    foreign: tuple[Path, ...] = ()

    @property
    def tensors(self) -> list[Path]:
        """All files of tensors."""
        return [file for files in self.weights.values() for file in files]

    @property
    def size(self) -> int:
        """Of them, in bytes."""
        return sum(file.stat().st_size for file in self.tensors)


def model_files(path: str | Path) -> ModelFiles:
    """The files of the model that a user names.

    Raises:
        LorafoldError: nothing there, no safetensors, a shard that is missing, or several models in one folder.
    """
    path = with_home(path)
    if not path.exists():
        raise remote(as_given(path)) or LorafoldError("no such file or folder", path=path, remedy="Check the path.")
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in PICKLES:
        raise pickle_refused(path)
    if path.name.endswith(".json"):
        raise LorafoldError("a configuration, not a model", path=path, remedy=f"Give its folder: {path.parent}.")
    if _SHARD.search(path.name):
        raise LorafoldError("one shard of a model", path=path, remedy=f"Give its folder: {path.parent}.")
    if is_gguf(path):
        raise LorafoldError(
            "a GGUF file, whose weights are quantised", path=path, remedy="Name the model as safetensors."
        )
    return ModelFiles(path, {"": (path,)})


def as_given(path: Path) -> str:
    """The path as the user wrote it: an identity on the hub may have been taken for one from here."""
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(path)


def _folder(folder: Path) -> ModelFiles:
    weights = _pipeline(folder) if (folder / PIPELINE).is_file() else {"": _component(folder)}
    own = {file for files in weights.values() for file in files}
    others = [file for file in _contents(folder) if file not in own]
    foreign = tuple(file for file in others if file.suffix.lower() in _WEIGHTS or _is_index_of_another(file, own))
    return ModelFiles(folder, weights, tuple(file for file in others if file not in foreign), foreign)


def _pipeline(folder: Path) -> dict[str, tuple[Path, ...]]:
    """By component, those without weights (tokenizers, schedulers) left out."""
    folders = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and _holds_weights(entry)]
    if not folders:
        raise LorafoldError("no component with weights", path=folder, remedy="Download all of the pipeline's folders.")
    return {entry.name: _component(entry) for entry in folders}


def _holds_weights(folder: Path) -> bool:
    return any(file.suffix.lower() in PICKLES | {".safetensors"} for file in folder.iterdir())


def _component(folder: Path) -> tuple[Path, ...]:
    """The shards of an index, else the usual file, else the only one."""
    files = sorted(folder.glob("*.safetensors"))
    indices = sorted(folder.glob(f"*{_INDEX}"), key=lambda file: (len(file.name), file.name))
    usual = [folder / name for name in _USUAL if (folder / name) in files]
    if indices and not usual:
        return _present(indices[0], shards(indices[0]))
    if usual or len(files) == 1:
        return tuple((usual or files)[:1])
    if files:
        raise LorafoldError(
            f"{len(files)} safetensors files and no index, expected one model",
            path=folder,
            remedy=f"Name one of them: {', '.join(file.name for file in files[:5])}.",
        )
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in PICKLES:
            raise pickle_refused(file)
    raise LorafoldError("the folder holds no safetensors file", path=folder, remedy="Name a model as safetensors.")


def shards(index: Path) -> list[Path]:
    """The files that an index of shards names, without looking whether they are there.

    Raises:
        LorafoldError: not an index, or one that leads out of its folder.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [index.parent / name for name in names]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise LorafoldError(f"not an index of shards ({error!r})", path=index, remedy="Download it again.") from error
    if outside := next((name for name in names if Path(name).name != name), None):
        raise LorafoldError(f"{outside!r}, expected a file beside it", path=index, remedy="Download it again.")
    return files


def _present(index: Path, files: Sequence[Path]) -> tuple[Path, ...]:
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise LorafoldError(
            f"{len(missing)} of {len(files)} shards are missing: {', '.join(missing[:3])}",
            path=index,
            remedy="Download the missing ones.",
        )
    return tuple(files)


def _contents(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from _contents(entry) if entry.name not in _HIDDEN else ()
        else:
            yield entry


def _is_index_of_another(file: Path, own: set[Path]) -> bool:
    """An index of shards that are not the model's: a loader would look for them."""
    return file.name.endswith(_INDEX) and own.isdisjoint(shards(file))
