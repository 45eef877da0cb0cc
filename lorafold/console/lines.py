"""Lines of text on standard output and standard error: broken at spaces on a terminal, whole in pipes and files.

Free of rich, which takes a while to import.
"""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from typing import IO

_WIDTH = 80  # where a terminal does not know


def fitted(text: str, stream: IO[str]) -> str:
    """The text as the stream takes it. A path that is longer than the line stays whole, to be copied."""
    if not stream.isatty():
        return text
    width = os.get_terminal_size(stream.fileno()).columns or _WIDTH
    shape = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(line if len(line) <= width else shape.fill(line) for line in text.split("\n"))


def tell(text: str) -> None:
    """Print it."""
    print(fitted(text, sys.stdout))


class FittedHandler(logging.StreamHandler[IO[str]]):
    """For Hydra, which tells of every run of a sweep that it begins."""

    def format(self, record: logging.LogRecord) -> str:
        """The line as the stream takes it."""
        return fitted(super().format(record), self.stream)


class StderrHandler(logging.Handler):
    """Log records on standard error: on the one of the moment, so that a progress bar can make room for them."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"lorafold: {record.levelname.lower()}: {self.format(record)}"
        print(fitted(text, sys.stderr), file=sys.stderr)
