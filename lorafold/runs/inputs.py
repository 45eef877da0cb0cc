"""The adapters that a run reads: which files they are, and that they stay the same meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from lorafold.adapters.files.foreign import remote
from lorafold.adapters.files.model_files import model_files
from lorafold.adapters.formats.fingerprint import file_sha256, fingerprint, unchanged
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home
from lorafold.runs.hub import HUB, fetched

Result = TypeVar("Result")

_DEMO = Path(__file__).parents[1] / "demo"


def adapter_paths(adapters: Any, base: Path) -> list[Path]:
    """The files and folders that `adapters=` names, relative ones from `base`."""
    if adapters == "demo":
        return [_DEMO / "dnoun", _DEMO / "dmovie"]
    if not isinstance(adapters, list) or not adapters:
        raise LorafoldError(
            f"adapters={adapters!r}, expected a list of files or folders",
            remedy="Write their names alone, as in: lorafold merge a.safetensors b.safetensors",
        )
    return [_local(str(adapter), base) for adapter in adapters]


def one_or_more(adapters: Any, base: Path) -> list[Path]:
    """The same where a single path serves as a list of one."""
    listed = [adapters] if isinstance(adapters, str) and adapters != "demo" else adapters
    return adapter_paths(listed, base)


def just_one(adapters: Any, base: Path) -> list[Path]:
    """The one file or folder that `adapters=` names; of the shipped pair, the first.

    Raises:
        LorafoldError: none, or several.
    """
    paths = one_or_more(adapters, base)
    if len(paths) > 1 and adapters != "demo":
        raise LorafoldError(
            f"adapters={adapters!r}, expected one adapter",
            remedy="For a run for each of them write 'adapters=[a],[b]' and add -m.",
        )
    return paths[:1]


def _local(name: str, base: Path) -> Path:
    """Its path; of what is not there, the name is told as it was given, for a path would spoil an address."""
    path = base / with_home(name)
    if path.exists():
        return path
    if name.startswith(HUB):
        return fetched(name)
    if error := remote(name):
        raise error
    return path


def statistics_paths(config: Any) -> list[Path]:
    """The files of statistics that a command with such a setting reads."""
    given = getattr(config, "calibration", None) or []
    return [Path(item) for item in ([given] if isinstance(given, str) else given)]


def with_fingerprints(
    paths: Sequence[Path], work: Callable[[], Result], files: Sequence[Path] = ()
) -> tuple[Result, list[str]]:
    """Do the work, and beside it compute the SHA-256 of the adapters, then of other files: both read the same pages.

    Raises:
        LorafoldError: an input changes meanwhile.
    """
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        with unchanged(paths, files):
            hashes = [pool.submit(fingerprint, path) for path in paths]
            others = [pool.submit(file_sha256, file) for file in files]
            return work(), [*(sha256.result() for sha256 in hashes), *(sha256.result() or "" for sha256 in others)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def watched(
    paths: Sequence[Path], work: Callable[[], Result], files: Sequence[Path] = ()
) -> tuple[Result, list[str | None]]:
    """Do the work on whole models, of which no SHA-256 is taken: it would need as long as the work.

    Raises:
        LorafoldError: a file of a model changes meanwhile.
    """
    with unchanged((), [*chain.from_iterable(model_files(path).tensors for path in paths), *files]):
        return work(), [None] * len(paths)


def hashed(inputs: Sequence[Mapping[str, Any]], hashes: Sequence[str | None]) -> list[dict[str, Any]]:
    """The entries of the inputs, each with its SHA-256."""
    return [{**entry, "sha256": sha256} for entry, sha256 in zip(inputs, hashes, strict=True)]
