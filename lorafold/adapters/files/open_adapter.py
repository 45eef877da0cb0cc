"""The tensors of an adapter, whatever kind of file they are in: safetensors, in shards too, or GGUF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lorafold.adapters.files.gguf_file import is_gguf, open_gguf
from lorafold.adapters.files.locate import SHARD, locate
from lorafold.adapters.files.tensor_file import TensorFile, open_tensors
from lorafold.common.errors import LorafoldError


def open_adapter(path: str | Path) -> TensorFile:
    """Map the adapter that a user names: a file, a folder, or a shard, which stands for all of them.

    Raises:
        LorafoldError: nothing there, something else than an adapter, or a damaged or missing file.
    """
    file = locate(path)
    if is_gguf(file):
        return open_gguf(file)
    return _joined(_shards(file)) if SHARD.fullmatch(file.name) else open_tensors(file)


def _shards(shard: Path) -> list[Path]:
    """All files of the set that `shard` belongs to."""
    count = int(SHARD.fullmatch(shard.name)[2])  # type: ignore[index]
    present = sorted(shard.parent.glob(f"adapter_model-*-of-{count:05}.safetensors"))
    if len(present) != count:
        raise LorafoldError(
            f"{len(present)} of {count} shards are there", path=shard.parent, remedy="Download the missing ones."
        )
    return present


def _joined(shards: Sequence[Path]) -> TensorFile:
    files = [open_tensors(shard) for shard in shards]
    tensors: dict[str, Tensor] = {}
    for file in files:
        if twice := next((key for key in file.tensors if key in tensors), None):
            raise LorafoldError(
                "in two shards", path=file.path, key=twice, remedy="These are not the shards of one adapter."
            )
        tensors |= file.tensors
    return TensorFile(shards[0], tensors, files[0].metadata, tuple(shards))
