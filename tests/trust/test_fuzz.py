"""A few hundred damaged adapters of every format: each is merged, or refused with one clear line, in bounded time.

`python tests/trust/fuzz.py --count 20000` tries more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import one_thread as one_thread
from tests.trust import fuzz
from tests.trust.seeds import seed

CASES = range(60)


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("form", fuzz.FORMATS)
def test_a_damaged_adapter_is_merged_or_refused(tmp_path: Path, form: str) -> None:
    outcomes = [fuzz.run(form, number, tmp_path) for number in CASES]
    merged = sum(outcome.merged for outcome in outcomes)
    # Mutations that all end at the door, or all pass, test nothing.
    assert len(CASES) // 10 < merged < len(CASES) - len(CASES) // 10
    assert len({outcome.message.partition(": ")[2] for outcome in outcomes}) > len(CASES) // 5


@pytest.mark.parametrize("form", fuzz.FORMATS)
def test_what_the_fuzzer_starts_from_is_sound(tmp_path: Path, form: str) -> None:
    assert fuzz.attempt(seed(form).write(tmp_path), tmp_path).merged


def test_a_case_is_the_same_files_every_time(tmp_path: Path) -> None:
    folders = tmp_path / "1", tmp_path / "2"
    for folder in folders:
        folder.mkdir()
    for number in range(20):
        one, other = (fuzz.build("kohya", number, folder).read_bytes() for folder in folders)
        assert one == other
