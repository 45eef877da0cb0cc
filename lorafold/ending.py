"""How the program ends where it cannot go on: with one line, and the exit status that others expect."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from lorafold.errors import LorafoldError


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """End the program as programs do, and with one line where Hydra would print many."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from lorafold.config import explain

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
    except KeyboardInterrupt:
        print("lorafold: interrupted; an output is there as a whole or not at all", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader left: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes
        sys.exit(141)


def fail(message: str) -> NoReturn:
    """Say what is wrong, and end with status 1."""
    print(f"lorafold: error: {message}", file=sys.stderr)
    sys.exit(1)
