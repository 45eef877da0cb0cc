"""Measurements in fresh processes, interleaved; this process imports neither torch nor lorafold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cases import Case, find

Json = dict[str, Any]
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Bench:
    """How to measure.

    Args:
        data: folder of the generated adapters, and of the outputs while they are measured.
        device: "cpu" or "cuda".
        threads: of the CPU.
        runs: of every measurement.
    """

    data: Path
    device: str
    threads: int
    runs: int

    def child(self, task: str, **job: Any) -> Json:
        """The answer of `measured.py` to a job; its messages go to standard error."""
        job |= {"task": task, "device": self.device, "threads": self.threads, "scratch": str(self.data)}
        count = str(self.threads)
        path = os.pathsep.join(filter(None, (str(_HERE.parent.parent), os.environ.get("PYTHONPATH"))))
        env = {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "PYTHONPATH": path}
        command = [sys.executable, str(_HERE / "measured.py"), json.dumps(job)]
        answer = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
        return json.loads(answer.splitlines()[-1])

    def write(self, case: str) -> Json:
        """The paths of a case's adapters, written if need be, and their size."""
        return self.child("write", case=case, data=str(self.data))


def measure_case(bench: Bench, name: str, objectives: Sequence[str], rivals: Sequence[str]) -> Json:
    """One entry of the result: the floor and every objective in turn, `bench.runs` times, then the rivals once."""
    case, files, small = find(name), bench.write(name), bench.write("tiny")
    job = {"inputs": files["paths"], "warm_up": small["paths"], "rank": case.rank}
    merged = "merged.safetensors" if case.format == "kohya" else "merged"
    floors: list[Json] = []
    runs: dict[str, list[Json]] = {objective: [] for objective in objectives}
    for turn in range(bench.runs):
        for objective in objectives:
            floors.append(bench.child("floor", **job, output="merged.safetensors"))
            run = bench.child("lorafold", **job, output=merged, settings=settings(objective))
            runs[objective].append(run | {"floor_ratio": run["seconds"] / floors[-1]["seconds"]})
            pair = f"floor {floors[-1]['seconds']:.2f} s, {objective} {run['seconds']:.2f} s"
            print(f"{name} {turn + 1}/{bench.runs}: {pair}", file=sys.stderr, flush=True)
    entry = _describe(case) | {"input_bytes": files["bytes"], "floor": _summary(floors)}
    entry["lorafold"] = {objective: _summary(found) for objective, found in runs.items()}
    timed = {"case": name, "inputs": files["paths"], "rivals": list(rivals), "runs": bench.runs}
    entry["rivals"] = bench.child("rivals", **timed) if rivals else {}
    return entry


def settings(objective: str) -> Json:
    """`chordal` -> objective=chordal; `subspace_weight=0` -> that."""
    field, equals, value = objective.partition("=")
    return {field: float(value)} if equals else {"objective": objective}


def _describe(case: Case) -> Json:
    return {
        "title": case.title,
        "modules": len(case.layers),
        "numbers": sum(layer.m * layer.n for layer in case.layers),
        "widths": sum(layer.m + layer.n for layer in case.layers),
        "ranks": case.ranks,
        "rank": case.rank,
        "dtype": case.dtype,
        "at_most": case.at_most,
        "at_least": case.at_least,
    }


def _summary(runs: Sequence[Json]) -> Json:
    """Median, minimum and maximum of what was measured; from the last run what does not vary."""
    numbers = [key for key in ("seconds", "cpu_seconds", "startup", "peak_mib", "floor_ratio") if key in runs[0]]
    stages = {stage: median(run["stages"][stage] for run in runs) for stage in runs[0]["stages"]}
    spread = {key: _spread([run[key] for run in runs]) for key in numbers}
    return runs[-1] | spread | {"stages": stages, "runs": [run["seconds"] for run in runs]}


def _spread(values: Sequence[float]) -> Mapping[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}
