"""Adapters on the Hugging Face hub, `hf:user/repository` or `hf:user/repository/file`, of a branch, tag or commit with
`@revision` behind: the only thing that lorafold fetches, by huggingface_hub, into that package's own cache, with its
settings (`HF_TOKEN`, `HF_HUB_OFFLINE`, ...).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorafold.adapters.files.foreign import by_hand
from lorafold.common.errors import LorafoldError

HUB = "hf:"
# A file's name may hold an "@": what ends as one is no revision.
_NAME = re.compile(
    r"hf:(?://)?(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<file>.+?))?"
    r"(?:@(?P<revision>(?!.*(?:\.safetensors|\.gguf)$)[^@]+))?"
)
# What a PEFT folder consists of.
_PEFT = re.compile(r"adapter_(config\.json|model.*\.safetensors(\.index\.json)?)")


def fetched(name: str) -> Path:
    """The file, or the folder of an adapter, once it is here.

    Raises:
        LorafoldError: no such name, huggingface_hub is missing or refuses, or not just one adapter there.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise LorafoldError(
            "no name on the hub", path=name, remedy="Write hf:user/repository or .../file, and @revision last."
        )
    repository, file, revision = match["repository"], match["file"], match["revision"]
    try:
        import huggingface_hub as hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        remedy = f"Run pip install huggingface_hub; or {by_hand(repository, file, revision)}."
        raise LorafoldError("huggingface_hub is not installed", path=name, remedy=remedy) from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # or it tells of every attempt
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        files = [file] if file else _files(match, hub.list_repo_files(repository, revision=revision))
        paths = [Path(hub.hf_hub_download(repository, each, revision=revision)) for each in files]
    except LorafoldError:
        raise
    except Exception as error:  # of the network, of the hub, of what is asked for
        raise LorafoldError(
            f"not fetched ({_reason(error)})",
            path=name,
            remedy=f"Check the name and the connection; or {by_hand(repository, file, revision)}.",
        ) from error
    return paths[0] if len(paths) == 1 else paths[0].parent


def _files(match: re.Match[str], listed: Sequence[str]) -> list[str]:
    """Of a repository's files those of its adapter."""
    peft = [file for file in listed if _PEFT.fullmatch(file)]
    tensors = [file for file in listed if file.endswith(".safetensors")]
    if any(file in peft for file in tensors):
        return peft
    if len(tensors) == 1:
        return tensors
    names = ", ".join(tensors[:5]) + (", ..." if len(tensors) > 5 else "")
    like = f"hf:{match['repository']}/FILE" + (f"@{match['revision']}" if match["revision"] else "")
    remedy = f"Name one of them: {like}, with {names}." if tensors else "Look at what it holds."
    raise LorafoldError(f"{len(tensors)} safetensors files there, expected one adapter", path=match[0], remedy=remedy)


def _reason(error: Any) -> str:
    """The first line of what the package says that tells something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
