"""Where files are dropped: Gradio's, which here fetches nothing from the network, and keeps no copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lorafold.common.errors import LorafoldError

_NETWORK = ("http:", "https:", "ftp:")


def drop(label: str, suffixes: Sequence[str]) -> gr.File:
    """A place for files, of which a function is given the paths.

    Not a class of its own: for such, Gradio writes a file beside its source.

    Args:
        label: what is to be dropped.
        suffixes: what the browser's dialogue lists.
    """
    place = gr.File(label=label, file_count="multiple", file_types=[*suffixes], height=150)
    inherited = place.async_move_resource_to_block_cache

    async def local_only(path: Any) -> Any:
        if str(path).lower().startswith(_NETWORK):
            raise LorafoldError("an address, expected a file", remedy="Download it, then drop it.")
        return await inherited(path)

    place.async_move_resource_to_block_cache = local_only  # what is behind an address has no limit of size
    place.preprocess = _paths  # Gradio's leaves an empty file for each
    return place


def _paths(payload: Any) -> list[str]:
    return [file.path for file in payload or ()]
