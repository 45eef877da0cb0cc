"""The folder of a run or a sweep before the run: it can be made, and holds no other one's results. And after a refusal.

Free of torch and Hydra.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from lorafold.common.errors import LorafoldError
from lorafold.runs.folders import METRICS

_RECORDS = (METRICS, "inspect.json", "path.csv")
_made: list[Path] = []  # by this process for its run: the run's folder, and those around it that were not there


def open_run(folder: Path, task: Mapping[str, Any]) -> None:
    """Make the folder of a run that is alone in its process.

    Args:
        folder: `hydra.run.dir`.
        task: the settings of the command.

    Raises:
        LorafoldError: it holds the results of a run, which this one would replace unasked; or it cannot be made.
    """
    points = folder.glob(f"t*/{METRICS}")  # of a path
    _check_unused(folder, chain((folder / name for name in _RECORDS), points), task, "hydra.run.dir")
    whole = folder.resolve()
    _made[:] = [path for path in (whole, *whole.parents) if not path.exists()]
    _make(folder, "hydra.run.dir")


def open_sweep(folder: Path, task: Mapping[str, Any]) -> None:
    """Make the folder of a sweep, `hydra.sweep.dir`, as `open_run` does; here the runs lie at any depth.

    Raises:
        LorafoldError: as `open_run`; or every run would write the same output.
    """
    output = task.get("output")
    if output is not None and "${" not in output:
        raise LorafoldError(
            f"output={output!r} in a sweep, where every run would write it",
            remedy="Leave it out for one in each run's folder, or name what differs: 'output=r${rank}.safetensors'.",
        )
    _check_unused(folder, chain.from_iterable(map(folder.rglob, _RECORDS)), task, "hydra.sweep.dir")
    _make(folder, "hydra.sweep.dir")


def withdraw_run(folder: Path) -> None:
    """Remove the folder of a run that was refused, if this process made it and there is only what Hydra notes down."""
    logs = [handler for handler in logging.root.handlers if isinstance(handler, logging.FileHandler)]
    notes = {".hydra", *(Path(handler.baseFilename).name for handler in logs)}
    if folder.resolve() not in _made or {path.name for path in folder.iterdir()} - notes:
        return
    for handler in logs:  # Windows removes no open file
        logging.root.removeHandler(handler)
        handler.close()
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # another run is in it
        for around in _made[1:]:
            around.rmdir()


def _check_unused(folder: Path, records: Iterator[Path], task: Mapping[str, Any], key: str) -> None:
    ways = [f"{name}=true" for name in ("overwrite", "resume") if name in task]
    if any(task.get(name) for name in ("overwrite", "resume")) or not folder.is_dir():
        return
    if record := next(filter(Path.exists, records), None):
        raise LorafoldError(
            f"{folder} holds a run already ({record.relative_to(folder)})",
            remedy=f"Write {', '.join([*ways, f'or choose another {key}'])}." if ways else f"Choose another {key}.",
        )


def _make(folder: Path, key: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # whoever may look into a folder may not always write there
            pass
    except OSError as error:
        raise LorafoldError(
            f"{folder} cannot be made or written to ({error.strerror})", remedy=f"Choose another place: {key}=FOLDER."
        ) from error
