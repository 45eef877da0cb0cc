"""What a finished merge has written down: its settings, its inputs with their hashes, and where its adapter is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lorafold.adapters.formats.fingerprint import file_sha256, fingerprint
from lorafold.common.errors import LorafoldError
from lorafold.pipelines._metrics import Json
from lorafold.pipelines.merge.settings import MergeSettings

METRICS = "metrics.json"


def read_record(folder: Path) -> Json:
    """What the merge left in its folder as `metrics.json`.

    Raises:
        LorafoldError: nothing readable, or the run of another command.
    """
    try:
        record: Json = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise LorafoldError(
            f"no readable {METRICS}", path=folder, remedy="Give the folder that a finished merge left."
        ) from None
    if record.get("command") != "merge":
        raise LorafoldError(
            f"a run of {record.get('command')!r}, expected one of 'merge'", path=folder, remedy="Give another folder."
        )
    return record


def check_inputs(record: Mapping[str, Any]) -> None:
    """Raise LorafoldError where an adapter, or a file of statistics, is not what it was then."""
    changed = [entry["path"] for entry in record["inputs"] if fingerprint(entry["path"]) != entry["sha256"]]
    files = record.get("calibration", [])
    changed += [entry["path"] for entry in files if file_sha256(entry["path"]) != entry["sha256"]]
    if changed:
        raise LorafoldError(
            f"{', '.join(changed)} changed since that run, so that nothing can be compared",
            remedy="Bring back the files whose SHA-256 are in its metrics.json.",
        )


def adapter_of(folder: Path, record: Mapping[str, Any]) -> Path:
    """Where the run wrote it, or in the run's folder if that has been moved."""
    written = Path(record["output"]["path"])
    return written if written.exists() else folder / written.name


def settings_of(record: Mapping[str, Any]) -> MergeSettings:
    """The settings of that merge; those that later versions added have their defaults."""
    names = {field.name for field in fields(MergeSettings)}
    return MergeSettings(**{key: value for key, value in record["config"].items() if key in names})
