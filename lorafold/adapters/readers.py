"""What readers of a file do not find in it, whichever tool wrote it: said when it is written."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from lorafold.adapters.adapter import Adapter

_log = logging.getLogger(__name__)

# Of a U-Net and of Wan, ComfyUI (October 2025) finds a part of the layers, or none, under diffusers' names.
_UNFOUND = re.compile(r"unet\.|transformer(?:_2)?\.blocks\.\d+\.(?:attn[12]|ffn)\.")


def warn_of_readers(adapter: Adapter, path: Path) -> None:
    """Say that ComfyUI would silently leave out layers of the file at `path`, and what to write for it instead."""
    if adapter.format == "diffusers" and any(map(_UNFOUND.match, adapter.modules)):
        _log.warning(
            "%s: for diffusers; ComfyUI does not find all layers under these names: for it, lorafold convert "
            "'adapters=[%s]' format=kohya output=%s",
            path,
            path,
            path.with_name(f"{path.stem}_kohya.safetensors"),
        )
