"""Sweeps as files, for the tests of what reads them: small, by hand, without a merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from lorafold.commands.report.sweep import Sweep, read_sweep

BLOCKS = ("layer.0.attention.q", "layer.0.attention.k", "layer.1.attention.q")


def metrics(rank: int = 4, weights: Any = (0.5, 0.5), objective: str = "chordal", **other: Any) -> dict[str, Any]:
    """`metrics.json` of a merge of two adapters, three modules of 24 × 20; numbers follow from rank and weights."""
    first, second = weights or (0.5, 0.5)
    kept = [round(1 - 1 / (1 + rank * share), 6) for share in (first, second)]
    error = round(1 / (1 + rank), 6)
    phi = {side: {"phi": [first, second - shift]} for side, shift in (("left", 0), ("right", 0.1))}
    module = {"shape": [24, 20], "ranks": [8, 8], "rank": rank, "retained": kept, "reconstruction_error": error, **phi}
    return {
        "command": "merge",
        "config": {
            "adapters": ["/loras/ink.safetensors", "/loras/clay.safetensors"],
            "weights": None if weights is None else list(weights),
            "rank": rank,
            "objective": {"name": objective, "distance": objective},
            "output": None,
        },
        "environment": {"lorafold": "0.1.0", "overrides": [f"rank={rank}", f"objective={objective}"]},
        "inputs": [{"path": "/loras/ink.safetensors"}, {"path": "/loras/clay.safetensors"}],
        "summary": {
            "modules": 3,
            "converged": 3,
            "phi": {side: phi[side]["phi"] for side in ("left", "right")},
            "retained": kept,
            "reconstruction_error": error,
            "seconds": {"total": 1.5},
        },
        "modules": [{"name": name, **module} for name in BLOCKS],
        **other,
    }


def grid(
    objectives: tuple[str, ...] = ("chordal", "geodesic"), ranks: tuple[int, ...] = (4, 8)
) -> list[dict[str, Any]]:
    """Every objective, rank and one of three weights."""
    weights = ((0.7, 0.3), (0.5, 0.5), (0.3, 0.7))
    return [metrics(rank, weight, name) for name in objectives for rank in ranks for weight in weights]


def leave(folder: Path, content: dict[str, Any] | str, *, resolved: bool = True) -> Path:
    """A run's folder with its `metrics.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    if resolved:
        (folder / "resolved.yaml").write_text("rank: 4\n")
    return folder


def begin(folder: Path, *overrides: str, command: str = "merge", number: int = 0) -> Path:
    """What Hydra leaves in a run's folder before the run does anything."""
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    job = {"job": {"name": command, "num": number}, "overrides": {"task": list(overrides)}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": job}))
    return folder


def multirun(
    folder: Path, *overrides: str, sweeper: str = "BasicSweeper", params: dict[str, str] | None = None
) -> Path:
    """What Hydra leaves in the folder of a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    chooser = {"_target_": f"hydra.{sweeper}", "params": params}
    content = {"hydra": {"sweeper": chooser, "overrides": {"task": list(overrides)}}}
    (folder / "multirun.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def sweep_of(folder: Path, runs: list[dict[str, Any]]) -> Sweep:
    """The runs as files in numbered folders, read back."""
    for number, content in enumerate(runs):
        leave(folder / str(number), content)
    return read_sweep([folder])
