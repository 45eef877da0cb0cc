"""The command line, `python -m lorafold COMMAND` or `lorafold COMMAND`: every command is a Hydra application.

Nothing here imports torch before a command runs, so that help, completion and mistakes are answered at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorafold._version import __version__
from lorafold.cli.arguments import with_plain_words
from lorafold.cli.exit_status import (
    check_packages,
    ends_as_programs_do,
    fail,
    mistakes_in_one_line,
    print_anywhere,
    reader_left,
)
from lorafold.commands import COMMANDS
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.options import CONF
from lorafold.runs.folders import ERROR, leave_error, threads_per_worker
from lorafold.runs.run_folder import withdraw_run

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from lorafold.runs.run import Run

log = logging.getLogger(__name__)


def task(name: str, config: DictConfig) -> Any:
    """What Hydra calls: once, or in a sweep once per combination, possibly in another process.

    Returns:
        What the sweeper is to minimise or maximise, if there is such a thing.
    """
    with _run_of_a_task() as run:
        from lorafold.cli.config import read

        command = COMMANDS[name]
        return command.run(run, read(config, command.config))
    return None  # a failed run of a sweep


def main() -> None:
    """The entry point of the console script and of `python -m lorafold`."""
    with ends_as_programs_do():
        _answer(sys.argv[1:])


def _answer(line: list[str]) -> None:
    match line:
        case [] | ["-h" | "--help" | "help", *_]:
            print(_usage())
        case ["--version" | "-V", *_]:
            print(f"lorafold {__version__}")
        case ["-sc" | "--shell_completion", *_] as arguments:
            _complete(arguments)
        case [name, *arguments] if name in COMMANDS:
            _run_hydra(name, [f"lorafold {name}", *with_plain_words(COMMANDS[name], arguments)])
        case [name, *_]:
            fail(f"unknown command {name!r}.{suggest(name, COMMANDS)} The commands are: {', '.join(COMMANDS)}")


def _run_hydra(name: str, argv: list[str]) -> None:
    check_packages()
    import hydra

    from lorafold.cli.config import list_no_groups, register
    from lorafold.cli.plugins import with_homes

    register(name)
    if {"-h", "--help"} & set(argv):
        list_no_groups()
    # argparse, which Hydra asks, knows no settings on both sides of a flag.
    words = sorted(argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    sys.argv = [argv[0], *map(with_homes, words)]
    application = hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(partial(task, name))
    with mistakes_in_one_line():
        application()


@contextmanager
def _run_of_a_task() -> Iterator[Run]:
    """Where Hydra put this run. A mistake of the user is logged without a traceback.

    In a sweep a failure of any kind is left in the run's folder and goes no further: the other runs count, and
    `SweepGuard` tells of it at the end.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lorafold.common.parallel import cpu_threads  # here, for it imports torch
    from lorafold.runs.run import Run

    print_anywhere()  # a sweep's workers have their own standard output
    hydra = HydraConfig.get()
    alone = hydra.mode == RunMode.RUN
    folder = Path(hydra.runtime.output_dir)
    (folder / ERROR).unlink(missing_ok=True)
    try:
        with cpu_threads(None if alone else threads_per_worker(hydra.launcher)):
            yield Run(folder, Path(hydra.runtime.cwd), list(hydra.overrides.task), alone)
    except BrokenPipeError:
        reader_left()  # no failure of the run
    except Exception as error:
        if alone and not isinstance(error, LorafoldError):
            raise
        log.error("%s", error if isinstance(error, LorafoldError) else repr(error))
        log.debug("raised here", exc_info=True)
        if alone:
            withdraw_run(folder)
            raise SystemExit(1) from None
        leave_error(folder, error)


def _complete(arguments: list[str]) -> None:
    """Shell completion: Hydra's, for the settings of the command that is being typed; or the names of the commands.

    Hydra knows no commands, so the command is taken out of the line before Hydra completes what follows it.
    """
    program, _, line = os.environ.get("COMP_LINE", "").partition(" ")
    name, space, rest = line.lstrip().partition(" ")
    if "query=bash" in arguments and not (name in COMMANDS and space):
        print(" ".join(COMMANDS))
        return
    os.environ["COMP_LINE"] = f"{program} {rest}"
    _run_hydra(name if name in COMMANDS else next(iter(COMMANDS)), ["lorafold", *arguments])


def _usage() -> str:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    return (
        f"lorafold {__version__}: merge LoRA adapters on Grassmann manifolds\n\n"
        "usage: python -m lorafold COMMAND [KEY=VALUE ...] [-m]\n\n"
        f"commands:\n{listing}\n\n"
        "python -m lorafold COMMAND --help lists the settings of a command;\n"
        "python -m lorafold merge, as it stands, merges the pair that lorafold ships."
    )
