"""What the commands that take one adapter have in common: where it is, and where the new one goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorafold.adapters import FORMATS
from lorafold.errors import LorafoldError
from lorafold.run import Run, adapter_paths


def listed(adapters: Any) -> Any:
    """A single path serves as a list of one."""
    return [adapters] if isinstance(adapters, str) and adapters != "demo" else adapters


def adapter_path(adapters: Any, base: Path) -> Path:
    """The one file or folder that `adapters=` names, relative ones from `base`; of the shipped pair, the first.

    Raises:
        LorafoldError: none, or several.
    """
    paths = adapter_paths(listed(adapters), base)
    if len(paths) > 1 and adapters != "demo":
        raise LorafoldError(
            f"adapters={adapters!r}, expected one adapter",
            remedy="For a run for each of them write 'adapters=[a],[b]' and add -m.",
        )
    return paths[0]


def output_path(run: Run, output: str | None, stem: str, form: str) -> Path:
    """What the user named, else a file or folder, whichever the format is, in the run's folder."""
    if output is not None:
        return run.base / Path(output).expanduser()
    return run.folder / (stem if FORMATS[form].companions else f"{stem}.safetensors")
