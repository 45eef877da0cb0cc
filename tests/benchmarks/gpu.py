"""What a CUDA device gives: agreement with the CPU, its tests, and where the time goes; JSON in --out.

    python tests/benchmarks/gpu.py --out "$OUT"
    python tests/benchmarks/gpu.py --out /tmp/small --small    # a few layers; also without a GPU

Every clock is read after the device is synchronised. A section that fails leaves its traceback and lets the next run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent.parent)]

import torch  # noqa: E402
from cases import Case, find  # noqa: E402
from floor import floor  # noqa: E402
from synthetic import write_case  # noqa: E402
from torch import Tensor  # noqa: E402

import lorafold  # noqa: E402
from lorafold.geometry.eigen import block_jacobi, eigh  # noqa: E402
from lorafold.geometry.singular import svd  # noqa: E402

Json = dict[str, Any]
OBJECTIVES: dict[str, Json] = {
    "chordal": {"objective": "chordal"},
    "chordal, one start": {"objective": "chordal", "solver": {"name": "riemannian_adam", "starts": 1}},
    "geodesic": {"objective": "geodesic"},
    "reconstruction_weight=0": {"reconstruction_weight": 0.0},
    "subspace_weight=0": {"subspace_weight": 0.0},
}
_COMPARED = {"sd15": ("chordal", "reconstruction_weight=0"), "sdxl": ()}
# What is timed apart: the part, and where the name is looked up.
PARTS = {
    "read": ("lorafold.pipelines.merge.pipeline", "read_all"),
    "match": ("lorafold.pipelines.merge.pipeline", "load_all"),
    "line up": ("lorafold.pipelines.merge.pipeline", "lined_up"),
    "reduce": ("lorafold.pipelines.merge.bucket", "reduce_layers"),
    "objective": ("lorafold.pipelines.merge.plan", "build"),
    "start": ("lorafold.solvers._settle", "forms"),
    "other starts": ("lorafold.solvers._settle", "_best_of"),
    "balance": ("lorafold.pipelines.merge.task", "balancing_factors"),
    "underflow": ("lorafold.pipelines.merge.pipeline", "warn_of_underflow"),
    "other ranks": ("lorafold.pipelines.merge.pipeline", "warn_of_vanishing"),
    "Newton, float32": ("lorafold.solvers._settle", "approach"),
    "Newton": ("lorafold.solvers._settle", "descend"),
    "recordings": ("lorafold.common.cuda_graph", "_cuda_graph"),
    "curvature": ("lorafold.solvers._settle", "curvature"),
    "Newton / conjugate gradients": ("lorafold.solvers._newton", "newton_step"),
    "Newton / retractions": ("lorafold.solvers._newton", "turned"),
    "merge bucket": ("lorafold.pipelines.merge.pipeline", "merge_bucket"),
    "measure": ("lorafold.pipelines.merge.bucket", "measure"),
    "lift": ("lorafold.pipelines.merge.pipeline", "lift_bucket"),
    "assemble": ("lorafold.pipelines.merge.pipeline", "_assembled"),
    "write": ("lorafold", "save"),
}


@dataclass(frozen=True)
class Bench:
    """Where to compute, and how much."""

    device: str
    small: bool
    runs: int
    data: Path
    until: float

    def late(self) -> bool:
        """Whether nothing more is to begin."""
        return perf_counter() > self.until

    def case(self, name: str) -> Case:
        """A case, or for a small run one of few layers."""
        return find("tiny" if self.small else name)

    def sync(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], runs: int | None = None) -> float:
        """The median of some runs after one that warms up."""
        work()
        taken = []
        for _ in range(runs or self.runs):
            self.sync()
            start = perf_counter()
            work()
            self.sync()
            taken.append(perf_counter() - start)
        return median(taken)


def environment(bench: Bench) -> Json:
    """Card, versions, CPU threads."""
    cuda = bench.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": sys.version.split()[0],
        "cpu_threads": torch.get_num_threads(),
        "lorafold": lorafold.__version__,
        "memory_gib": torch.cuda.get_device_properties(0).total_memory / 2**30 if cuda else None,
    }


def symmetric(count: int, size: int, device: str) -> Tensor:
    """Forms like those of a merge: many eigenvalues alike, the others spread over decades."""
    random = torch.Generator().manual_seed(0)
    frames = torch.linalg.qr(torch.randn(count, size, size, generator=random, dtype=torch.float64)).Q
    half = size // 3
    other = torch.linalg.qr(torch.randn(count, size, half, generator=random, dtype=torch.float64)).Q
    spread = torch.linspace(0, -4, size, dtype=torch.float64).exp2() / size
    form = (frames * spread) @ frames.mT + other @ other.mT / size + frames[..., half:] @ frames[..., half:].mT / size
    return ((form + form.mT) / 2).to(device)


def eigenproblems(bench: Bench) -> Json:
    """Seconds and errors of ways to decompose a batch of symmetric matrices, and of the SVD of others."""
    found: Json = {}
    for count, size in ((4, 96), (2, 128)) if bench.small else ((264, 96), (986, 128), (1320, 96)):
        A = symmetric(count, size, bench.device)
        ways: dict[str, Callable[[Tensor], Any]] = {"lorafold": eigh, "block Jacobi": block_jacobi}
        if (count, size) != (986, 128):
            ways["torch"] = torch.linalg.eigh
        found[f"{count} x {size}"] = {
            name: _tried(lambda way=way, A=A: _judged(bench, way, A)) for name, way in ways.items()
        }
    for count, size in ((4, 64), (2, 96)) if bench.small else ((264, 64), (264, 96), (986, 64)):
        general = symmetric(count, size, bench.device) @ symmetric(count, size, bench.device).flip(-1)
        expected = torch.linalg.svdvals(general[:4])
        found[f"SVD {count} x {size}"] = {
            "lorafold": bench.seconds(lambda general=general: svd(general), 3),
            "torch, four of them": bench.seconds(lambda general=general: torch.linalg.svd(general[:4]), 3),
            "error": float((svd(general).S[:4] - expected).abs().amax() / expected.amax()),
        }
    return found


def _judged(bench: Bench, way: Callable[[Tensor], Any], A: Tensor) -> Json:
    values, Q = way(A)
    n = A.shape[-1]
    eye = torch.eye(n, dtype=A.dtype, device=A.device)
    return {
        "seconds": bench.seconds(lambda: way(A), 3),
        "orthonormality": float((Q.mT @ Q - eye).abs().amax()),
        "residual": float((A @ Q - Q * values[:, None, :]).abs().amax() / torch.linalg.matrix_norm(A).amax()),
    }


def small_operations(bench: Bench) -> Json:
    """What bases and retractions are made of, at (264, 96, 96) or a few of them."""
    count = 8 if bench.small else 264
    A = symmetric(count, 96, bench.device)
    definite = A + torch.eye(96, dtype=A.dtype, device=A.device)
    L = torch.linalg.cholesky(definite)
    tall = A[..., :32].contiguous()
    work: dict[str, Callable[[], Any]] = {
        "product 96": lambda: A @ A,
        "product 96, float32": lambda: A.float() @ A.float(),
        "Cholesky 96": lambda: torch.linalg.cholesky_ex(definite),
        "triangular solve 96": lambda: torch.linalg.solve_triangular(L, A, upper=False),
        "cholesky_solve 96": lambda: torch.cholesky_solve(A, L),
        "Cholesky 32": lambda: torch.linalg.cholesky_ex(definite[:, :32, :32].contiguous()),
        "QR 96 x 32, whole": lambda: torch.linalg.qr(tall, mode="complete"),
        "SVD 32": lambda: torch.linalg.svd(A[:, :32, :32].contiguous()),
        "nonzero": lambda: (A[:, 0, 0] > 0).nonzero(),
    }
    return {name: bench.seconds(operation) for name, operation in work.items()}


def transfers(bench: Bench) -> Json:
    """Copies of factors as they lie in files, page by page or pinned, as they are or cast before."""
    if bench.device != "cuda":
        return {}
    factors = [torch.randn(1280, 64).half() for _ in range(50 if bench.small else 400)]
    whole = torch.empty(len(factors), 1280, 64, dtype=torch.float16, pin_memory=True)

    def staged() -> Tensor:
        for slot, factor in zip(whole, factors, strict=True):
            slot.copy_(factor)
        return whole.to("cuda", non_blocking=True).double()

    return {
        "mebibytes": sum(factor.numel() for factor in factors) * 2 / 2**20,
        "one by one": bench.seconds(lambda: [factor.cuda() for factor in factors]),
        "one by one, float64 before": bench.seconds(lambda: [factor.double().cuda() for factor in factors]),
        "stacked in float64": bench.seconds(lambda: torch.stack(factors).double().cuda()),
        "stacked in 16 bits": bench.seconds(lambda: torch.stack(factors).cuda().double()),
        "through a pinned buffer": bench.seconds(staged),
        "pinned buffer alone": bench.seconds(lambda: whole.to("cuda", non_blocking=True)),
        "back, pageable": bench.seconds(lambda: whole.cuda().cpu()),
    }


def adam(bench: Bench) -> Json:
    """A step of RiemannianAdam for the SD 1.5 batch: recorded, and by geoopt."""
    walk = import_module("lorafold.solvers._walk")
    objective, start = _adam_problem(bench)
    rates = torch.full_like(start.value, 0.02)
    steps = 20 if bench.small else 200
    ways = {"walk": walk.walk, "geoopt": walk._walk_with_geoopt}
    ends = {name: way(objective, start, rates, "grassmann", steps) for name, way in ways.items()}
    few, many = steps // 2, steps
    found: Json = {"rows": len(rates), "shape": list(start.left.shape), "steps": steps}
    for name, way in ways.items():
        short = bench.seconds(lambda way=way: way(objective, start, rates, "grassmann", few), 3)
        long = bench.seconds(lambda way=way: way(objective, start, rates, "grassmann", many), 3)
        found[name] = {"seconds per cycle": long, "seconds per step": (long - short) / (many - few)}
    gap = (ends["walk"].value - ends["geoopt"].value).abs().amax()
    return found | {"largest difference of F": float(gap), "F": float(ends["walk"].value.mean())}


def _adam_problem(bench: Bench) -> tuple[Any, Any]:
    """The objective of the merge's first batch, from its chordal start turned away."""
    seen: list[Any] = []
    adam_module = import_module("lorafold.solvers.riemannian_adam")
    begin = adam_module.begin

    def spy(objective: Any, tol: float, steps: int) -> Any:
        seen.append(objective)
        return begin(objective, tol, steps)

    adam_module.begin = spy
    try:
        paths = write_case(bench.case("sd15"), bench.data)
        lorafold.merge(paths, rank=bench.case("sd15").rank, device=bench.device)
    finally:
        adam_module.begin = begin
    objective = max(seen, key=lambda F: len(F.constant))
    count, p, q = len(objective.constant), *objective.targets.shape[-2:]
    random = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(count, d, objective.rank, generator=random, dtype=torch.float64)).Q.to(bench.device)
        for d in (p, q)
    )
    return objective, import_module("lorafold.solvers._solution").point(objective, left, right)


def merges(bench: Bench, name: str) -> Json:
    """Floor, seconds in all and by part, peak memory, and agreement with the CPU, of one pair and every objective."""
    case = bench.case(name)
    paths = write_case(case, bench.data)
    out = bench.data / "merged.safetensors"
    found: Json = {
        "modules": len(case.layers),
        "floor": bench.seconds(lambda: floor(paths, out, case.rank, bench.device)),
    }
    for objective, options in OBJECTIVES.items():
        if bench.late():
            found[objective] = {"skipped": True}
            continue

        def run(device: str = bench.device, options: Json = options, dtype: str = "auto") -> Any:
            result = lorafold.merge(paths, rank=case.rank, device=device, dtype=dtype, **options)
            lorafold.save(result.adapter, out)
            return result

        if bench.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        entry: Json = {"seconds": bench.seconds(run)}
        if bench.device == "cuda":
            entry["peak_device_mib"] = torch.cuda.max_memory_allocated() / 2**20
        with timed_parts(bench) as parts:
            run()
        entry["parts"] = dict(parts)
        found[objective] = entry
        if objective in _COMPARED[name]:
            exact = {**options, "solver": {"name": "riemannian_adam", "tol": 1e-9}}
            pair = [
                lorafold.merge(paths, rank=case.rank, device=d, dtype="float32", **exact) for d in (bench.device, "cpu")
            ]
            entry["agreement at tol=1e-9"] = _agreement(*pair)
    return found


@contextmanager
def timed_parts(bench: Bench) -> Iterator[dict[str, float]]:
    """Synchronised seconds and calls of every part, by wrapping the names under which they are called."""
    spent: dict[str, float] = defaultdict(float)
    before: list[tuple[Any, str, Any]] = []
    for part, (path, name) in PARTS.items():
        module = import_module(path) if find_spec(path) else None
        if not hasattr(module, name):
            continue
        original = getattr(module, name)
        before.append((module, name, original))

        @wraps(original)
        def wrapped(*args: Any, _part: str = part, _work: Any = original, **kwargs: Any) -> Any:
            if bench.device == "cuda" and torch.cuda.is_current_stream_capturing():
                return _work(*args, **kwargs)  # a recording is no time spent, and must not be interrupted
            bench.sync()
            start = perf_counter()
            answer = _work(*args, **kwargs)
            bench.sync()
            spent[_part] += perf_counter() - start
            spent[f"{_part}, calls"] += 1
            return answer

        setattr(module, name, wrapped)
    try:
        start = perf_counter()
        yield spent
        bench.sync()
        spent["all"] = perf_counter() - start
    finally:
        for module, name, original in before:
            setattr(module, name, original)


def _agreement(here: Any, there: Any) -> Json:
    """F and ΔW of two merges, module by module."""
    of = [{module["name"]: module for module in result.metrics()["modules"]} for result in (here, there)]
    gaps = {
        name: (of[0][name]["objective"] - one["objective"]) / max(one["objective"], 1e-12)
        for name, one in of[1].items()
    }
    size = torch.tensor(
        [_update_gap(here.adapter.modules[name], module) for name, module in there.adapter.modules.items()]
    )
    values = torch.tensor([*gaps.values()])
    summaries = [result.metrics()["summary"] for result in (here, there)]
    return {
        "F": [summary["objective"] for summary in summaries],
        "converged": [summary["converged"] for summary in summaries],
        "iterations": [sum(m["iterations"] for m in modules.values()) / len(modules) for modules in of],
        "most_iterations": [max(m["iterations"] for m in modules.values()) for modules in of],
        "F_higher_by": float(values.max()),
        "F_lower_by": float(-values.min()),
        "F_beyond_1e-9": [int((values > 1e-9).sum()), int((values < -1e-9).sum())],
        "update_gap_median": float(size.median()),
        "update_gap_largest": float(size.max()),
        "update_gap_beyond_1e-4": int((size > 1e-4).sum()),
    }


def _update_gap(one: Any, other: Any) -> float:
    """‖ΔW - ΔW'‖ / ‖ΔW'‖ from the factors."""
    up = torch.cat([one.scale * one.up.double(), -other.scale * other.up.double()], 1)
    down = torch.cat([one.down.double(), other.down.double()])
    norm = ((other.up.double().mT @ other.up.double()) * (other.down.double() @ other.down.double().mT)).sum().sqrt()
    gap = ((up.mT @ up) * (down @ down.mT)).sum().clamp_min(0).sqrt()
    return float(gap / (other.scale * norm).clamp_min(1e-300))


def verbs(bench: Bench) -> Json:
    """`compare`, `align` and `resize` here and on the CPU: seconds, and numbers of their records side by side."""
    paths = write_case(bench.case("sd15"), bench.data)
    work: dict[str, Callable[[str], Any]] = {
        "compare": lambda device: lorafold.compare(paths, device=device),
        "align": lambda device: lorafold.align(paths, device=device),
        "resize": lambda device: lorafold.resize(paths[1], rank=16, device=device),
    }
    found: Json = {}
    for name, run in work.items():
        numbers = [_numbers(run(device).metrics()["modules"]) for device in (bench.device, "cpu")]
        gap = max(abs(a - b) for a, b in zip(*numbers, strict=True))
        seconds = {
            device: bench.seconds(lambda run=run, device=device: run(device), 1) for device in (bench.device, "cpu")
        }
        found[name] = {"seconds": seconds, "numbers": len(numbers[0]), "largest difference": gap}
    return found


def _numbers(record: Any) -> list[float]:
    """All numbers of a record but for lists, such as those of angles, in order."""
    if isinstance(record, dict):
        return [number for value in record.values() for number in _numbers(value)]
    if isinstance(record, list):
        return [number for value in record if isinstance(value, dict) for number in _numbers(value)]
    return [float(record)] if isinstance(record, int | float) else []


def profile(bench: Bench) -> Json:
    """The dearest operations of the SD 1.5 merge, by the host's and by the device's time, and how many there are."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    case = bench.case("sd15")
    paths = write_case(case, bench.data)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.device == "cuda" else [])]
    with profiler(activities=activities) as seen:
        lorafold.merge(paths, rank=case.rank, device=bench.device)
        bench.sync()
    events = seen.key_averages()
    found: Json = {"events": sum(event.count for event in events)}
    for key in ("self_cpu_time_total", "self_device_time_total"):
        dearest = sorted(events, key=lambda event: -getattr(event, key, 0))[:25]
        found[key] = [[event.key, event.count, getattr(event, key, 0) / 1e6] for event in dearest]
    return found


def cuda_tests(bench: Bench) -> Json:
    """The tests that carry the marker, and those that run on a GPU where there is one."""
    marked = ["cuda", "tests/geometry", "tests/solvers", "tests/common", "tests/core_space", "tests/pipelines/merge"]
    return {
        name: _pytest(*run)
        for name, run in {"marked": marked, "all": ["slow or not slow", "tests/test_gpu.py"]}.items()
    }


def _pytest(marker: str, *paths: str) -> Json:
    command = [sys.executable, "-m", "pytest", "-q", "-m", marker, "-p", "no:cacheprovider", *paths]
    run = subprocess.run(command, cwd=_HERE.parent.parent, capture_output=True, text=True, timeout=150)
    return {"rc": run.returncode, "tail": (run.stdout + run.stderr)[-3000:]}


def _tried(work: Callable[[], Json]) -> Json:
    start = perf_counter()
    try:
        return work()
    except Exception:
        return {"error": traceback.format_exc()[-1500:]}
    finally:
        print(f"  {perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def main() -> None:
    """All sections in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--small", action="store_true", help="a few layers of SD 1.5 in place of both pairs")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", help="sections, with commas")
    parser.add_argument("--until", type=float, default=400, help="begin nothing after so many seconds")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sections: dict[str, Callable[[Bench], Json]] = {
        "environment": environment,
        "tests": cuda_tests,
        "eigenproblems": eigenproblems,
        "RiemannianAdam": adam,
        "sd15": lambda bench: merges(bench, "sd15"),
        "sdxl": lambda bench: merges(bench, "sdxl"),
        "verbs": verbs,
        "small operations": small_operations,
        "transfers": transfers,
        "profile": profile,
    }
    if options.only:
        sections = {name: sections[name] for name in options.only.split(",")}
    found: Json = {}
    with TemporaryDirectory(prefix="lorafold-cuda-") as scratch:
        data = options.data or Path(scratch)
        data.mkdir(parents=True, exist_ok=True)
        bench = Bench(device, options.small, options.runs, data, perf_counter() + options.until)
        for name, section in sections.items():
            print(name, file=sys.stderr, flush=True)
            start = perf_counter()
            if bench.late():
                found[name] = {"skipped": True}
                continue
            found[name] = _tried(lambda section=section: section(bench))
            found[name]["section_seconds"] = perf_counter() - start
            (options.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
