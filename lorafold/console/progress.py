"""What a person sees while a command runs, on standard error: a progress bar, and warnings above it."""

from __future__ import annotations

import logging
import sys

from lorafold.common.progress_bar import progress_bar as progress_bar
from lorafold.console.lines import fitted


class StderrHandler(logging.Handler):
    """Log records on standard error: on the one of the moment, so that a progress bar can make room for them."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"lorafold: {record.levelname.lower()}: {self.format(record)}"
        print(fitted(text, sys.stderr), file=sys.stderr)
