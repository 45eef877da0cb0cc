"""The command line, `python -m lorafold COMMAND` or `lorafold COMMAND`: every command is a Hydra application.

Nothing here imports torch before a command runs, so that help, completion and mistakes are answered at once.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorafold._version import __version__
from lorafold.cli import elsewhere
from lorafold.cli.arguments import to_overrides
from lorafold.cli.completion import completion
from lorafold.cli.exit_status import (
    check_packages,
    ends_as_programs_do,
    fail,
    mistakes_in_one_line,
    mistakes_of_the_user,
    print_anywhere,
    reader_left,
)
from lorafold.commands import COMMANDS
from lorafold.commands.help import help_screen
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.options import CONF
from lorafold.common.shell import command_line
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
        settings = read(config, command.config)
        command.load()
        _collect_garbage()
        return command.run(run, settings)
    return None  # a failed run of a sweep


def main() -> None:
    """The entry point of the console script and of `python -m lorafold`."""
    gc.disable()
    try:
        with ends_as_programs_do():
            _answer(sys.argv[1:])
    finally:
        gc.enable()


def _collect_garbage() -> None:
    """From here on, and not among what was imported: it stays, and to look through it again and again takes a while."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _answer(line: list[str]) -> None:
    match line:
        case ["help" | "-h" | "--help", name] if name in COMMANDS:
            _answer_for(name, ["--help"])
        case [] | ["help" | "-h" | "--help" | "--help-all", *_]:
            print(_usage())
        case ["version" | "--version" | "-V", *_] | [_, "--version"]:
            print(f"lorafold {__version__}")
        case ["-sc" | "--shell_completion", *_] as arguments:
            _complete(arguments)
        case ["completion", *arguments]:
            with mistakes_of_the_user():
                print(completion(arguments))
        case [name, *arguments] if name in COMMANDS:
            _answer_for(name, arguments)
        case [name, *_]:
            fail(_no_command(name, line))


def _answer_for(name: str, words: list[str]) -> None:
    command = COMMANDS[name]
    if {"-h", "--help"} & {*words} or words == ["help"]:
        print(help_screen(name, command.config, command.config.help))
        return
    with mistakes_of_the_user():
        overrides = to_overrides(name, command, ["--help" if word == "--help-all" else word for word in words])
    _run_hydra(name, [f"lorafold {name}", *overrides])


def _no_command(name: str, line: list[str]) -> str:
    if Path(name).exists():
        words = command_line(["lorafold", "merge" if len(line) > 1 else "inspect", *line]) or "lorafold merge A B"
        return f"{name!r} is a file or folder, and no command stands before it. Write, for example, {words}"
    known = elsewhere.COMMANDS.get(name)
    close = f" Did you mean {known!r}?" if known else suggest(name, COMMANDS)
    return f"unknown command {name!r}.{close} The commands are: {', '.join(COMMANDS)}"


def _run_hydra(name: str, argv: list[str]) -> None:
    check_packages()
    import hydra

    from lorafold.cli.config import list_no_groups, register
    from lorafold.cli.plugins import with_homes

    register(name)
    if {"-h", "--help"} & set(argv):
        list_no_groups()
    sys.argv = [argv[0], *map(with_homes, argv[1:])]
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

    from lorafold.common.device import gpu_in_turn  # here, for they import torch
    from lorafold.common.parallel import cpu_threads
    from lorafold.runs.run import Run

    print_anywhere()  # a sweep's workers have their own standard output
    hydra = HydraConfig.get()
    alone = hydra.mode == RunMode.RUN
    folder = Path(hydra.runtime.output_dir)
    (folder / ERROR).unlink(missing_ok=True)
    try:
        with (
            cpu_threads(None if alone else threads_per_worker(hydra.launcher)),
            nullcontext() if alone else gpu_in_turn(hydra.job.num),
        ):
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
    *words, last = rest.split(" ")  # names of files are no settings
    os.environ["COMP_LINE"] = " ".join([program, *(word for word in words if "=" in word), last])
    _run_hydra(name if name in COMMANDS else next(iter(COMMANDS)), ["lorafold", *arguments])


def _usage() -> str:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    return (
        f"lorafold {__version__}: merge LoRA adapters on Grassmann manifolds\n\n"
        "usage: lorafold COMMAND [FILE ...] [KEY=VALUE ...] [-m]\n\n"
        f"commands:\n{listing}\n\n"
        "lorafold COMMAND --help: its settings on a screen; --help-all: everything\n"
        "lorafold merge, as it stands, merges the pair that lorafold ships\n"
        "lorafold completion install: Tab in bash, zsh and fish"
    )
