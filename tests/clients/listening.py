"""What the clients complain about while they load a file: their loggers' and Python's warnings."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_CLIENTS = ("diffusers", "transformers", "peft")
_REPORT = "LOAD REPORT"


class _Collector(logging.Handler):
    def __init__(self, adapter: str) -> None:
        super().__init__(logging.WARNING)
        self.adapter, self.messages = adapter, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.messages += self._rows(message) if _REPORT in message else [message]

    def _rows(self, report: str) -> list[str]:
        """transformers 5 reports as missing what the adapter has no business with: only its own weights count."""
        rows = [row for row in report.splitlines() if row.count("|") >= 2 and "Status" not in row]
        return [row for row in rows if "MISSING" not in row or f".{self.adapter}." in row]


@contextmanager
def complaints(adapter: str = "default_0") -> Iterator[list[str]]:
    """The list of messages, filled when the context ends; `adapter` is the name of what is loaded."""
    collector, messages = _Collector(adapter), list[str]()
    loggers = [logging.getLogger(name) for name in _CLIENTS]
    for logger in loggers:
        logger.addHandler(collector)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for category in (DeprecationWarning, FutureWarning):  # of one library to another, not about the file
                warnings.simplefilter("ignore", category)
            yield messages
    finally:
        for logger in loggers:
            logger.removeHandler(collector)
    messages += collector.messages + [str(warning.message) for warning in caught]
