"""The adapters that a run reads."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest

from lorafold.runs import inputs
from lorafold.runs.inputs import with_fingerprints


def test_what_a_failed_run_has_not_read_yet_it_does_not_read(monkeypatch):
    """The work is over before the first fingerprint is there; what waits for its turn is dropped."""
    failed, read = threading.Event(), []

    def slow(path):
        read.append(path)
        failed.wait()

    monkeypatch.setattr(inputs, "fingerprint", slow)
    monkeypatch.setattr(inputs, "unchanged", lambda *paths: nullcontext())
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        with_fingerprints(["first", "second"], lambda: 1 / 0)
    failed.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert read in ([], ["first"])
