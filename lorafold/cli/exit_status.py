"""How the program ends where it cannot go on: with one line, and the exit status that others expect."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from typing import NoReturn

from lorafold.common.errors import LorafoldError
from lorafold.console.lines import fitted


@contextmanager
def ends_as_programs_do() -> Iterator[None]:
    """End with status 130 after Ctrl-C, and with 141 where the reader of a pipe has left, as `| head` does."""
    print_anywhere()
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # as it is where it was closed, or under pythonw
                sys.stdout.flush()  # while it can still be said what is wrong
    except KeyboardInterrupt:
        print("lorafold: interrupted; an output is there as a whole or not at all", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        reader_left()
    except OSError as error:
        if error.errno != ENOSPC:
            raise
        _mute()
        fail("no space left on the disk, or where standard output leads")


def reader_left() -> NoReturn:
    """End where nobody reads any more what is printed."""
    _mute()
    sys.exit(141)


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """One line where Hydra would print many."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from lorafold.cli.config import explain

    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises, instead of printing and leaving
    try:
        yield
    except LorafoldError:
        sys.exit(1)  # the run has logged it
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        if traceback_wanted:
            raise
        fail(explain(error))
    except ValueError as error:
        if traceback_wanted or str(error) != "No trials are completed yet.":  # Optuna's words
            raise
        fail("every run of the search failed; error.txt in the folder of each says why")


def fail(message: str) -> NoReturn:
    """Say what is wrong, and end with status 1."""
    print(fitted(f"lorafold: error: {message}", sys.stderr), file=sys.stderr)
    sys.exit(1)


def print_anywhere() -> None:
    """Escape what the terminal or pipe has no character for, in a name or a formula, instead of failing there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _mute() -> None:
    """Or Python complains when it flushes what it still holds."""
    with suppress(OSError, ValueError):  # no real file, in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
