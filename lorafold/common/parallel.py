"""Independent pieces of work on all CPU threads, one torch thread each; and how many threads there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from lorafold.common.errors import LorafoldError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_AT_ONCE = 2  # of large pieces


def map_parallel(work: Callable[[Piece], Result], pieces: Sequence[Piece], device: torch.device) -> Iterator[Result]:
    """`work` of every piece, in their order, each as soon as it is there.

    On a CPU a thread per piece beats threads inside each operation: batched LAPACK uses one core only, small products
    are over before their threads have met, and the result does not depend on the number of threads. torch releases
    the interpreter's lock while it computes. A GPU takes the pieces one after another.
    """
    workers = min(torch.get_num_threads(), len(pieces)) if device.type == "cpu" else 1
    if workers <= 1:
        yield from map(work, pieces)
        return
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(work, piece) for piece in pieces]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # of the threads to come; a worker has changed that too


def map_ahead(work: Callable[[Piece], Result], pieces: Sequence[Piece], device: torch.device) -> Iterator[Result]:
    """`work` of every piece, in their order, for pieces so large that few of them fit in memory.

    On a CPU two are in the making, on half of the threads each, while one is with the caller: reading, computing and
    writing overlap. A GPU takes one after another.
    """
    threads = torch.get_num_threads()
    workers = min(_AT_ONCE, threads, len(pieces)) if device.type == "cpu" else 1
    if workers <= 1:
        yield from map(work, pieces)
        return
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(work, piece))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # a worker has changed those of threads to come


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
