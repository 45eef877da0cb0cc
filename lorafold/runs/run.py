"""One run of a command: its inputs, the folder that it leaves, and what it tells.

Free of Hydra: `lorafold.cli.app` says where the folder is and what was asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from lorafold.adapters.files.foreign import remote
from lorafold.adapters.formats.fingerprint import fingerprint, unchanged
from lorafold.common.errors import LorafoldError
from lorafold.runs.record import environment

Result = TypeVar("Result")
Job = TypeVar("Job", bound=Any)  # a dataclass with settings

log = logging.getLogger(__name__)

_DEMO = Path(__file__).resolve().parents[1] / "demo"
_DEMO_SAID = "the demo pair that lorafold ships, as no adapters of your own are given"


@dataclass(frozen=True)
class Run:
    """Where a run writes, and how it talks.

    Args:
        folder: of this run; exists.
        base: where the user stands: relative paths start here.
        overrides: what was asked for on the command line.
        alone: false in a sweep: one line for the run instead of a progress bar and a table.
    """

    folder: Path
    base: Path
    overrides: Sequence[str] = ()
    alone: bool = True

    def announce(self, adapters: Any) -> None:
        """Say it first where the adapters are not the user's own."""
        if adapters == "demo":
            log.info(_DEMO_SAID)
            if self.alone:
                print(_DEMO_SAID)

    def located(self, job: Job) -> Job:
        """The job with its base model's path as seen from here."""
        if job.settings.base is None:
            return job
        path = str(self.base / Path(job.settings.base).expanduser())
        return replace(job, settings=replace(job.settings, base=path))


def opening(command: str, run: Run, config: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """What `metrics.json` of every command begins with: what was asked for, and where it ran."""
    return {
        "command": command,
        "config": dict(config),
        "environment": {**environment(device), "overrides": list(run.overrides)},
    }


def hashed(inputs: Sequence[Mapping[str, Any]], hashes: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of the inputs, each with its SHA-256."""
    return [{**entry, "sha256": sha256} for entry, sha256 in zip(inputs, hashes, strict=True)]


def adapter_paths(adapters: Any, base: Path) -> list[Path]:
    """The files and folders that `adapters=` names, relative ones from `base`."""
    if adapters == "demo":
        return [_DEMO / "dnoun", _DEMO / "dmovie"]
    if not isinstance(adapters, list) or not adapters:
        raise LorafoldError(
            f"adapters={adapters!r}, expected a list of files or folders",
            remedy="Write 'adapters=[a.safetensors,b.safetensors]', with the quotes.",
        )
    return [_local(str(adapter), base) for adapter in adapters]


def _local(name: str, base: Path) -> Path:
    """Its path; of what is not there, the name is told as it was given, for a path would spoil an address."""
    path = base / Path(name).expanduser()
    if not path.exists() and (error := remote(name)):
        raise error
    return path


def with_fingerprints(paths: Sequence[Path], work: Callable[[], Result]) -> tuple[Result, list[str]]:
    """Do the work, and beside it compute the SHA-256 of the inputs: both read the same pages.

    Raises:
        LorafoldError: an input changes meanwhile.
    """
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        with unchanged(paths):
            hashes = [pool.submit(fingerprint, path) for path in paths]
            return work(), [sha256.result() for sha256 in hashes]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Run with so many CPU threads, then as before: the next run of a sweep has its own wish, or none."""
    if count is None:
        yield
        return
    if count < 1:
        raise LorafoldError(f"threads={count}, expected at least 1", remedy="threads=null leaves them as they are.")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
