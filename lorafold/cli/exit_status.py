"""How the program ends where it cannot go on: with one line, and the exit status that others expect."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOSPC
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from lorafold.common.errors import LorafoldError
from lorafold.console.lines import fitted

# What pyproject.toml asks for, by the names that are imported.
REQUIRED = ("geoopt", "hydra", "numpy", "omegaconf", "rich", "safetensors", "scipy", "torch", "yaml")

_SAID_BY_OTHERS = {  # words of Optuna and of Hydra, and ours
    "No trials are completed yet.": "every run of the search failed; error.txt in the folder of each says why",
    "Config group override must be a string or a list. Got NoneType": (
        "a choice (core, manifold, method, objective, solver, sweep) cannot be null. Leave it out for the default"
    ),
}


@contextmanager
def ends_as_programs_do() -> Iterator[None]:
    """End with status 130 after Ctrl-C, with 141 where the reader of a pipe has left, as `| head` does; and with a line
    where a package is missing."""
    print_anywhere()
    try:
        try:
            yield
        finally:
            _flush()  # while it can still be said what is wrong
    except KeyboardInterrupt:
        print("lorafold: interrupted; an output is there as a whole or not at all", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError:
        check_packages()
        raise
    except BrokenPipeError:
        reader_left()
    except OSError as error:
        if error.errno != ENOSPC:
            raise
        _mute()
        fail("no space left on the disk, or where standard output leads")


def check_packages() -> None:
    """End where a package is missing: in a checkout that was not installed, for instance."""
    if missing := [name for name in REQUIRED if find_spec(name) is None]:
        checkout = Path(__file__).resolve().parents[2]
        here = (checkout / "pyproject.toml").is_file()
        remedy = f"pip install -e . in {checkout}" if here else "pip install lorafold"
        fail(f"lorafold needs packages that are not installed: {', '.join(missing)}. Run {remedy}")


def reader_left() -> NoReturn:
    """End where nobody reads any more what is printed."""
    _mute()
    sys.exit(141)


@contextmanager
def mistakes_of_the_user() -> Iterator[None]:
    """One line for what was typed."""
    try:
        yield
    except LorafoldError as error:
        fail(str(error))


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
        if traceback_wanted or str(error) not in _SAID_BY_OTHERS:
            raise
        fail(_SAID_BY_OTHERS[str(error)])


def fail(message: str) -> NoReturn:
    """Say what is wrong, and end with status 1."""
    print(fitted(f"lorafold: error: {message}", sys.stderr), file=sys.stderr)
    sys.exit(1)


def print_anywhere() -> None:
    """Escape what the terminal or pipe has no character for, in a name or a formula, instead of failing there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    if sys.stdout is None:  # as it is where it was closed, or under pythonw
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        if os.name == "nt" and error.errno == EINVAL:  # what Windows says of a pipe whose reader has left
            raise BrokenPipeError from error
        raise


def _mute() -> None:
    """Or Python complains when it flushes what it still holds."""
    with suppress(OSError, ValueError):  # no real file, in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
