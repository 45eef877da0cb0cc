"""The merge of what is chosen, known by the contents of the files and the settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lorafold._version import __version__
from lorafold.adapters import FORMATS, Adapter
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.formats.fingerprint import file_sha256
from lorafold.adapters.metadata.header import signed
from lorafold.common.errors import LorafoldError
from lorafold.common.progress import Progress
from lorafold.common.text import short_names
from lorafold.integrations.comfyui.choice import Choice
from lorafold.integrations.comfyui.kept import COMMAND
from lorafold.pipelines.merge.pipeline import MergeResult, merge


@dataclass(frozen=True)
class Merged:
    """A merged LoRA with its tensors as a file would hold them, and what it keeps of each input, in words."""

    adapter: Adapter
    tensors: dict[str, Tensor]
    report: str


def identity(choice: Choice) -> str:
    """A number for what the merge depends on: the contents of the files, the settings, lorafold's version."""
    content = (__version__, _hashes(choice.paths), asdict(choice.settings))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def merged(choice: Choice, progress: Callable[[], Progress]) -> Merged:
    """The merge.

    Raises:
        LorafoldError: what `lorafold.merge` refuses, numbers that the dtype cannot hold, or a format without single
            files, which ComfyUI does not load.
    """
    # ComfyUI runs its nodes in inference mode, which other threads are not in, and whose tensors they cannot change.
    with torch.inference_mode(False):
        result = merge(choice.paths, choice.settings, progress=progress())
        shares = result.metrics()["summary"]["retained"]
        adapter = signed(result.adapter, COMMAND, asdict(choice.settings), _hashes(choice.paths), kept=shares)
        form = FORMATS[adapter.format]
        if form.companions or form.suffix != ".safetensors":
            remedy = "Pick a file of another format first, or run lorafold convert FILE format=kohya."
            raise LorafoldError(f"{form.name} is not for ComfyUI", path=choice.paths[0], remedy=remedy)
        tensors = form.tensors(adapter)
        check_tensors(tensors, None, "The merged numbers are too large for their dtype: lower the weights.")
    return Merged(adapter, tensors, _in_words(result))


def _hashes(paths: Sequence[Path]) -> list[str | None]:
    return [_sha256(path, (found := path.stat()).st_size, found.st_mtime_ns, found.st_ino) for path in paths]


@lru_cache(maxsize=256)
def _sha256(path: Path, *state: int) -> str | None:
    """Once for every state of a file: ComfyUI asks at every prompt."""
    return file_sha256(path)


def _in_words(result: MergeResult) -> str:
    """`style.safetensors keeps 92 %, character.safetensors 82 % of its energy; strength 1.21`"""
    metrics = result.metrics()
    names, shares = short_names([entry["path"] for entry in metrics["inputs"]]), metrics["summary"]["retained"]
    kept = [f"{name} keeps {100 * share:.0f} %" for name, share in zip(names, shares, strict=True) if share is not None]
    return f"{', '.join(kept)} of its energy; strength: {result.scale:.4g} times the weighted sum"
