"""Merged LoRAs that stay in ComfyUI's folder: names come with workflows, which are a stranger's as files are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lorafold.adapters import Adapter, load, save
from lorafold.common.errors import LorafoldError

COMMAND = "comfyui"  # in the metadata of what the node made


def target_of(folder: Path, name: str) -> Path:
    """The file in the folder that a merge of that name becomes: a new one, or one that this node made.

    Raises:
        LorafoldError: `name` is no file name, or the file is another's.
    """
    stem = name.strip().removesuffix(".safetensors")
    if not stem or stem.startswith(".") or set(stem) & set('/\\:*?"<>|') or not stem.isprintable():
        raise LorafoldError(f"save_as={name!r} is no file name", remedy="Give a name alone, as in: both")
    target = folder / f"{stem}.safetensors"
    if target.exists() and _made_here(target) is None:
        raise LorafoldError(
            "exists, and this node did not make it", path=target, remedy="Choose another name in save_as."
        )
    return target


def save_once(adapter: Adapter, target: Path, inputs: Sequence[Path]) -> None:
    """Write it, unless the same is there; over no input."""
    if _made_here(target) != adapter.metadata["lorafold"]:
        save(adapter, target, forbid=inputs)


def _made_here(path: Path) -> str | None:
    """What the metadata of a file say of its making, if it was made by this node."""
    try:
        entry = load(path).metadata["lorafold"]
        return entry if json.loads(entry)["command"] == COMMAND else None
    except (LookupError, TypeError, ValueError):  # LorafoldError and what json raises are ValueErrors
        return None
