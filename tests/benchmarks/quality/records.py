"""Records in a file of JSON lines, and the processes that add to it: a run that was killed goes on where it was."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from quality.run import Lab

Json = dict[str, Any]
Job = tuple[str, tuple[Any, ...]]  # a method of `Lab` and its arguments


class Records:
    """The records of a file, by key."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        whole, _, broken = path.read_bytes().rpartition(b"\n")
        if broken:  # by a process that was killed as it wrote
            path.write_bytes(whole + b"\n")
        self._path = path
        self._found = {record["key"]: record for record in map(json.loads, whole.splitlines())}

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Json:
        return self._found[key]

    def add(self, record: Json) -> None:
        """Keep it and write it down at once."""
        record = json.loads(json.dumps(record))  # as it will be read again
        self._found[record["key"]] = record
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class Crew:
    """Processes with a `Lab` each, of `threads` threads; one alone is this process."""

    def __init__(self, make: Callable[[], Lab], processes: int, threads: int) -> None:
        """`make` is pickled, unless `processes` is 1."""
        self._pool: Any = None
        if processes == 1:
            _start(make, threads)
        else:
            context = multiprocessing.get_context("spawn")
            self._pool = context.Pool(processes, _start, (make, threads))

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.terminate()

    def measure(self, jobs: Sequence[Job], records: Records) -> None:
        """Do the jobs, write each result down, and say on standard error how it goes."""
        start, evaluations = perf_counter(), 0
        for done, record in enumerate(self._results(jobs), 1):
            records.add(record)
            evaluations += record["evaluations"]
            pace = 60 * evaluations / (perf_counter() - start)
            print(f"{done}/{len(jobs)}, {pace:.0f} evaluations/min: {_line(record)}", file=sys.stderr, flush=True)

    def _results(self, jobs: Sequence[Job]) -> Iterator[Json]:
        return self._pool.imap_unordered(_work, jobs) if self._pool else map(_work, jobs)


def _line(record: Json) -> str:
    if "config" not in record:
        return f"{record['adapter']} alone, {record['split']}"
    what = f"{record['config']}, {'+'.join(record['adapters'])}"
    if "refused" in record:
        return f"{what}: refused"
    on_val = f", on val {max(record['val'].values()):.3f} at λ = {record['lambda']:g}" if record["val"] else ""
    return f"{what}: merged in {record['seconds']:.2f} s{on_val}"


_LABS: list[Lab] = []  # of this process


def _start(make: Callable[[], Lab], threads: int) -> None:
    torch.set_num_threads(threads)
    _LABS[:] = [make()]


def _work(job: Job) -> Json:
    method, arguments = job
    return getattr(_LABS[0], method)(*arguments)
