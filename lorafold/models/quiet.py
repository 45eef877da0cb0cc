"""Other libraries at work without their bars and reports: what must be said, lorafold says."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_TALKATIVE = ("transformers", "diffusers")


@contextmanager
def quiet(*needed: str) -> Iterator[None]:
    """These and, of `_TALKATIVE`, those that are imported say nothing inside.

    Raises:
        ImportError: one that is needed is missing.
    """
    names = [name for name in _TALKATIVE if name in needed or name in sys.modules]
    logs: list[Any] = [import_module(f"{name}.utils.logging") for name in names]
    before = [(log.is_progress_bar_enabled(), log.get_verbosity()) for log in logs]
    for log in logs:
        log.disable_progress_bar()
        log.set_verbosity(log.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, (bars, level) in zip(logs, before, strict=True):
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()
