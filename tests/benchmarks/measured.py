"""One measurement in a process of its own: `python measured.py JOB`, JSON in and JSON out.

Seconds count from when everything is imported and one small merge is done; that start-up is reported apart.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

Json = dict[str, Any]
_STARTED = perf_counter()


def write(job: Json) -> Json:
    """Write the adapters of a case."""
    from cases import find
    from synthetic import tensor_file, write_case

    paths = write_case(find(job["case"]), Path(job["data"]))
    return {"paths": [str(path) for path in paths], "bytes": sum(tensor_file(path).stat().st_size for path in paths)}


def measure_floor(job: Json) -> Json:
    """Stages and total of the floor."""
    from floor import floor

    return _measure(job, lambda inputs, output, rank: floor(inputs, output, rank, job["device"]))


def measure_lorafold(job: Json) -> Json:
    """Stages and total of load, merge and save, and what the merge says of itself."""
    import lorafold

    results = []

    def run(inputs: list[Path], output: Path, rank: int) -> dict[str, float]:
        result = lorafold.merge(inputs, rank=rank, device=job["device"], **job["settings"])
        merged = perf_counter()
        lorafold.save(result.adapter, output)
        results.append(result)
        return {**result.seconds, "write": perf_counter() - merged}

    measured = _measure(job, run)
    metrics = results[-1].metrics()
    iterations = [module["iterations"] for module in metrics["modules"]]
    return measured | {
        "modules": metrics["summary"]["modules"],
        "converged": metrics["summary"]["converged"],
        "objective": metrics["summary"]["objective"],
        "iterations": {"mean": sum(iterations) / len(iterations), "max": max(iterations)},
    }


def measure_rivals(job: Json) -> Json:
    """Extrapolated seconds of every rival asked for."""
    import rivals
    from cases import find

    paths = list(map(Path, job["inputs"]))
    rivals.warm_up(job["device"], job["rivals"])
    return rivals.measure_rivals(find(job["case"]), paths, job["device"], job["rivals"], job["runs"])


def environment(job: Json) -> Json:
    """Machine, threads and versions."""
    import torch

    from lorafold.runs.record import environment

    return environment(torch.device(job["device"])) | {"peft": version("peft"), "cpu": _cpu()}


def _measure(job: Json, run: Callable[[list[Path], Path, int], dict[str, float]]) -> Json:
    from synthetic import tensor_file

    with TemporaryDirectory(dir=job["scratch"]) as folder:
        run(list(map(Path, job["warm_up"])), Path(folder) / "small.safetensors", 8)
        start, cpu = perf_counter(), process_time()
        stages = run(list(map(Path, job["inputs"])), Path(folder) / job["output"], job["rank"])
        seconds, cpu_seconds = perf_counter() - start, process_time() - cpu
        written = tensor_file(Path(folder, job["output"])).stat().st_size
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "stages": stages,
        "startup": start - _STARTED,
        "peak_mib": _peak_mib(),
        "bytes": written,
    }


def _peak_mib() -> float:
    """Of this process alone; ru_maxrss, where there is no /proc, may also count the parent before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def measure_whole_models(job: Json) -> Json:
    """One step of `whole_models.py`."""
    from whole_models import STEPS

    return STEPS[job["step"]](job)


TASKS = {
    "write": write,
    "floor": measure_floor,
    "lorafold": measure_lorafold,
    "rivals": measure_rivals,
    "whole models": measure_whole_models,
    "environment": environment,
}


def main() -> None:
    import torch

    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    print(json.dumps(TASKS[job["task"]](job)))


if __name__ == "__main__":
    main()
