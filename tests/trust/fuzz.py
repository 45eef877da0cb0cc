"""Damaged adapters by the thousand, each of them merged: it works, or is refused with one line that names the file.

    python tests/trust/fuzz.py --count 20000 [--first 0] [--format kohya]

A case is a format and a number: the same case is the same files everywhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import lorafold
from lorafold.adapters import check_finite, load, save
from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.common.errors import LorafoldError
from tests.trust.mutations import DAMAGES, STRIKES
from tests.trust.seeds import BUILD, seed, write

FORMATS = tuple(BUILD)
# Seconds that a case may take, and bytes of address space that all of it may.
_PATIENCE, _MEMORY = 20, 8 << 30
_LONGEST = 2000


class Outcome(NamedTuple):
    """What became of a case: "merged", or the message of the refusal."""

    merged: bool
    message: str


def build(form: str, number: int, folder: Path) -> Path:
    """The files of a case, and what to hand to lorafold."""
    random = Random(f"{form}/{number}")
    chosen = seed(form)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        random.choice(DAMAGES)(random, chosen)
    tensors = chosen.file.pack()
    config = None if chosen.config is None else json.dumps(chosen.config).encode()
    if random.random() < 0.25:
        strike = random.choice(STRIKES)
        if config is None or random.random() < 0.7:
            tensors = strike(random, tensors)
        else:
            config = strike(random, config)
    return write(folder, tensors, config)


# Beside inspecting and merging, one per case.
FURTHER: tuple[Callable[[Path], object], ...] = (
    lambda path: lorafold.compare([path, path]),
    lambda path: lorafold.align([path, path]),
    lambda path: lorafold.resize(path, rank=1),
    lambda path: lorafold.convert(path, format="kohya"),
)


def attempt(path: Path, folder: Path, number: int = 0) -> Outcome:
    """Inspect, merge and save an adapter, and do something else with it, which depends on the number.

    Raises:
        AssertionError: an unclear message, or an output that is not whole.
        Exception: whatever lorafold lets through; nothing but LorafoldError is allowed.
    """
    before = {file: file.read_bytes() for file in _files(path)}
    target = folder / ("out.safetensors" if path.is_file() else "out")
    try:
        FURTHER[number % len(FURTHER)](path)
    except LorafoldError as error:
        _check_refusal(str(error), path, target)
    try:
        fingerprint(path)
        lorafold.inspect(path)
        result = lorafold.merge([path, path], rank=2, weights=[1, 0.5], solver="alternating")
        save(result.adapter, target, forbid=[path])
        outcome = Outcome(True, "merged")
    except LorafoldError as error:
        _check_refusal(str(error), path, target)
        outcome = Outcome(False, str(error))
    assert {file: file.read_bytes() for file in _files(path)} == before, "an input was changed"
    assert not list(folder.glob(".lorafold-*")), "a scratch folder is left"
    if outcome.merged:
        check_finite(load(target))
    return outcome


def run(form: str, number: int, folder: Path) -> Outcome:
    """One case, in a folder of its own, within seconds."""
    place = folder / f"{form}-{number}"
    place.mkdir()
    try:
        with _patience(_PATIENCE):
            return attempt(build(form, number, place), place, number)
    finally:
        shutil.rmtree(place)


def _check_refusal(message: str, path: Path, target: Path) -> None:
    # The file, or what is or should be beside it.
    assert message.startswith(f"{path.parent}/"), f"names no file: {message!r}"
    assert message.isprintable(), f"no plain line: {message!r}"
    assert len(message) < _LONGEST, f"{len(message)} characters"
    assert not target.exists(), "an output in spite of the refusal"


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


@contextmanager
def _patience(seconds: int) -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="cases in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--format", choices=FORMATS, action="append", help="of these formats only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    forms = given.format or FORMATS
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for i in range(given.count):
            form, number = forms[i % len(forms)], given.first + i // len(forms)
            try:
                seen["merged" if run(form, number, Path(folder)).merged else "refused"] += 1
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                kind = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
                if not seen[kind]:
                    print(f"{form} {number}: {kind}: {str(error)[:300]}", flush=True)
                    traceback.print_exc()
                seen[kind] += 1
    for kind, count in seen.most_common():
        print(f"{count:6d} {kind}")
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")
    return int(bool(seen.keys() - {"merged", "refused"}))


if __name__ == "__main__":
    sys.exit(main())
