"""From what a user names, a file or a folder, to the one file that holds the tensors."""

from __future__ import annotations

import re
from pathlib import Path

from lorafold.adapters.files.foreign import folder_of, nested, remote, training_state, whole_model
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.homes import with_home

TENSORS_NAME = "adapter_model.safetensors"
MLX_NAME = "adapters.safetensors"
SHARD = re.compile(r"adapter_model-(\d{5})-of-(\d{5})\.safetensors")
STATISTICS = ".stats.safetensors"  # beside an adapter: what `lorafold calibrate` has left
_WEIGHT = re.compile(r"(.+)[:=@](-?\d*\.?\d+)")  # as in prompts of the WebUIs
PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth"})


def locate(path: str | Path) -> Path:
    """The safetensors file at `path` or in the folder `path`.

    Raises:
        LorafoldError: nothing there, something else than an adapter, or a folder without one or with several.
    """
    name, path = str(path), with_home(path)
    if not path.exists():
        raise remote(name) or _missing(path)
    if path.is_dir():
        return _in_folder(path)
    if error := folder_of(path) or training_state(path):
        raise error
    if path.suffix.lower() in PICKLES:
        raise pickle_refused(path)
    return path


def _missing(path: Path) -> LorafoldError:
    """The refusal of what is not there, with what is: the same name with its suffix, or a similar one."""
    names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    if weighted := _WEIGHT.fullmatch(path.name):
        remedy = f"Weights are a setting of their own: name {weighted[1]}, and write 'weights=[{weighted[2]},...]'."
    elif longer := next((name for name in sorted(names) if Path(name).stem == path.name), None):
        remedy = f"Did you mean '{longer}'?"
    else:
        remedy = suggest(path.name, names).strip() or "Check the path."
    return LorafoldError("no such file or folder", path=path, remedy=remedy)


def _in_folder(folder: Path) -> Path:
    """PEFT's file or the first of its shards, that of MLX, or else the only file of tensors."""
    files = sorted(file for file in folder.glob("*.safetensors") if not file.name.endswith(STATISTICS))
    named = [folder / name for name in (TENSORS_NAME, MLX_NAME) if (folder / name).is_file()]
    shards = [file for file in files if SHARD.fullmatch(file.name)]
    files = files or sorted(folder.glob("*.gguf"))
    for choice in (named, shards, files if len(files) == 1 else []):
        if choice:
            return choice[0]
    if error := whole_model(folder):
        raise error
    if files:
        raise LorafoldError(
            f"the folder holds {len(files)} {files[0].suffix[1:]} files, expected one adapter",
            path=folder,
            remedy=f"Name one of them: {', '.join(file.name for file in files[:5])}.",
        )
    if error := nested(folder):
        raise error
    pickles = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in PICKLES]
    for file in sorted(pickles, key=lambda file: training_state(file) is not None):  # an adapter's before a state's
        raise training_state(file) or pickle_refused(file)
    raise LorafoldError(
        "the folder holds no safetensors file" if any(folder.iterdir()) else "the folder is empty",
        path=folder,
        remedy=f"Expected {TENSORS_NAME} or one safetensors file in it.",
    )


def pickle_refused(path: Path) -> LorafoldError:
    """A pickle can run any code when it is read, so lorafold never does."""
    source, target = str(path), str(path.with_suffix(".safetensors"))
    return LorafoldError(
        "a pickle, expected safetensors",
        path=path,
        remedy='If you trust it, convert it once: python -c "import torch, safetensors.torch as s; s.save_file('
        f"torch.load({source!r}, map_location='cpu', weights_only=True), {target!r})\"",
    )
