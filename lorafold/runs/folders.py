"""The folders that the runs of a sweep leave, and the threads that each of its workers takes. Free of torch and Hydra.

A folder holds `metrics.json`, written last, when its run is finished; `error.txt` when it failed; neither when it was
killed or has not begun.
"""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorafold.common.errors import LorafoldError

METRICS, ERROR = "metrics.json", "error.txt"
# Settings that change neither the adapter nor its metrics.
_OF_NO_CONCERN = ("page", "threads", "tracker")


def finished(folder: Path, config: Mapping[str, Any], hashes: Sequence[str | None]) -> dict[str, Any] | None:
    """The metrics of the run that this folder holds, if it is finished and was asked for the same; else None.

    Args:
        folder: of the run.
        config: every setting, as `metrics.json` records them.
        hashes: SHA-256 of the adapters, and of their statistics, as they are now.
    """
    try:
        metrics: dict[str, Any] = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        recorded = [entry["sha256"] for entry in (*metrics["inputs"], *metrics.get("calibration", []))]
        same = _asked(metrics["config"]) == _asked(config) and recorded == list(hashes)
        return metrics if same and Path(metrics["output"]["path"]).exists() else None
    except (OSError, ValueError, KeyError, TypeError):  # no record, or not one that this version writes
        return None


def clear(folder: Path) -> None:
    """Remove what would pass for the result of a run that is about to begin, and what a killed one has half-written."""
    for name in (METRICS, ERROR):
        (folder / name).unlink(missing_ok=True)
    sweep_up(folder)


def sweep_up(folder: Path) -> None:
    """Remove what a killed run was writing, or was about to remove itself."""
    for scratch in folder.glob(".lorafold-*"):
        shutil.rmtree(scratch, ignore_errors=True)


def leave_error(folder: Path, error: Exception) -> None:
    """Write down why the run failed: a mistake of the user in one line, anything else with its traceback."""
    clear(folder)
    expected = isinstance(error, LorafoldError)
    text = f"{error}\n" if expected else "".join(traceback.format_exception(error))
    (folder / ERROR).write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def failures(sweep: Path) -> dict[Path, str]:
    """The folders of failed runs, and the last line of what each says about it."""
    files = sorted(sweep.rglob(ERROR), key=lambda path: (len(str(path)), path))
    return {path.parent: path.read_text(encoding="utf-8").strip().splitlines()[-1] for path in files}


def summary_of_failures(sweep: Path, most: int = 3) -> str:
    """How many runs failed, and the first of them by name; empty if none did."""
    failed = failures(sweep)
    if not failed:
        return ""
    count = len(failed) + sum(1 for _ in sweep.rglob(METRICS))
    first = "; ".join(f"{folder.name}: {line}" for folder, line in list(failed.items())[:most])
    return f"{len(failed)} of {count} runs failed in {sweep}: {first}{'; ...' if len(failed) > most else ''}"


def threads_per_worker(launcher: Mapping[str, Any], cores: int | None = None) -> int | None:
    """CPU threads for each run of a sweep, so that all that run at once have the cores to themselves; None: all.

    Args:
        launcher: its settings, `hydra.launcher`. `n_jobs` (joblib) runs share the machine, -1 being one per core;
            `num_cpus` (Ray) and `cpus_per_task` (submitit) are what one run was promised, one core if they are null.
        cores: of this machine; None: those that this process may use.
    """
    for promised in ("num_cpus", "cpus_per_task"):
        if promised in launcher:
            return max(1, int(launcher[promised] or 1))
    if "n_jobs" not in launcher:
        return None
    cores = cores or _cores()
    workers = launcher["n_jobs"]
    return max(1, cores // workers) if workers > 0 else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _asked(config: Mapping[str, Any]) -> Any:
    """As it reads when it comes back from a file."""
    return json.loads(json.dumps({key: value for key, value in config.items() if key not in _OF_NO_CONCERN}))
