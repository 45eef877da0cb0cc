"""The command line, `python -m lorafold COMMAND` or `lorafold COMMAND`: every command is a Hydra application.

Nothing here imports torch before a command runs, so that help, completion and mistakes are answered at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lorafold._version import __version__
from lorafold.cli.arguments import plain_folders, quoted
from lorafold.cli.exit_status import ends_as_programs_do, fail, mistakes_in_one_line, print_anywhere, reader_left
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.options import CONF
from lorafold.runs.folders import ERROR, leave_error, threads_per_worker
from lorafold.runs.run_folder import withdraw_run

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from lorafold.runs.run import Run

log = logging.getLogger(__name__)


class Command(NamedTuple):
    """A command: the task that Hydra calls with the settings of `conf/<command>.yaml`, and what it does."""

    task: Callable[[DictConfig], Any]
    summary: str


def merge(config: DictConfig) -> Any:
    """The task of `lorafold merge`: called once, or in a sweep once per combination, possibly in another process.

    Returns:
        What the sweeper is to minimise or maximise, if there is such a thing.
    """
    with _run_of_a_task() as run:
        from lorafold.cli.config import read
        from lorafold.commands.merge.config import MergeConfig
        from lorafold.commands.merge.path import follow_path
        from lorafold.commands.merge.run import MergeJob
        from lorafold.commands.merge.run import merge as run_merge
        from lorafold.commands.merge.score import check_score, score_of

        values = read(config, MergeConfig)
        given = {field.name: getattr(values, field.name) for field in fields(MergeJob) if field.name != "settings"}
        job = MergeJob(values.settings(), **given)
        if values.path is not None:
            return follow_path(run, job, values.path)
        wanted = check_score(values.score, job.evaluator is not None)
        return score_of(wanted, run_merge(run, job))
    return None  # a failed run of a sweep


def compare(config: DictConfig) -> None:
    """The task of `lorafold compare`."""
    with _run_of_a_task() as run:
        from lorafold.cli.config import read
        from lorafold.commands.compare.config import CompareConfig
        from lorafold.commands.compare.run import CompareJob
        from lorafold.commands.compare.run import compare as run_compare

        values = read(config, CompareConfig)
        run_compare(run, CompareJob(values.settings(), values.adapters, values.page, values.threads))


def align(config: DictConfig) -> None:
    """The task of `lorafold align`."""
    with _run_of_a_task() as run:
        from lorafold.cli.config import read
        from lorafold.commands.align.config import AlignConfig
        from lorafold.commands.align.run import AlignJob
        from lorafold.commands.align.run import align as run_align

        values = read(config, AlignConfig)
        run_align(run, AlignJob(values.settings(), values.adapters, values.threads))


def inspect(config: DictConfig) -> None:
    """The task of `lorafold inspect`."""
    with _run_of_a_task() as run:
        from lorafold.cli.config import read
        from lorafold.commands.inspect.config import InspectConfig
        from lorafold.commands.inspect.run import InspectJob
        from lorafold.commands.inspect.run import inspect as run_inspect

        values = read(config, InspectConfig)
        run_inspect(run, InspectJob(values.adapters, values.csv, values.threads))


def resize(config: DictConfig) -> None:
    """The task of `lorafold resize`."""
    with _run_of_a_task() as run:
        from lorafold.cli.config import read
        from lorafold.commands.resize.config import ResizeConfig
        from lorafold.commands.resize.run import resize as run_resize
        from lorafold.runs.one_adapter import OneJob

        values = read(config, ResizeConfig)
        run_resize(run, OneJob(values.settings(), values.adapters, values.output, values.overwrite, values.threads))


def convert(config: DictConfig) -> None:
    """The task of `lorafold convert`."""
    with _run_of_a_task() as run:
        from lorafold.cli.config import read
        from lorafold.commands.convert.config import ConvertConfig
        from lorafold.commands.convert.run import convert as run_convert
        from lorafold.runs.one_adapter import OneJob

        values = read(config, ConvertConfig)
        run_convert(run, OneJob(values.settings(), values.adapters, values.output, values.overwrite, values.threads))


def reproduce(config: DictConfig) -> None:
    """The task of `lorafold reproduce`; a merge that comes out different ends the program with status 1."""
    with _run_of_a_task() as run:
        from lorafold.cli.config import read
        from lorafold.commands.reproduce.config import ReproduceConfig
        from lorafold.commands.reproduce.run import ReproduceJob
        from lorafold.commands.reproduce.run import reproduce as run_reproduce

        values = read(config, ReproduceConfig)
        metrics = run_reproduce(run, ReproduceJob(values.run, values.tolerance, values.threads))
        if metrics["summary"]["verdict"] == "different":
            raise SystemExit(1)


def report(config: DictConfig) -> None:
    """The task of `lorafold report`."""
    with _run_of_a_task() as run:
        from lorafold.cli.config import read
        from lorafold.commands.report.config import ReportConfig
        from lorafold.commands.report.run import ReportJob
        from lorafold.commands.report.run import report as run_report

        values = read(config, ReportConfig)
        run_report(run, ReportJob(values.runs, values.chosen))


COMMANDS = {
    "merge": Command(merge, "two or more LoRA adapters in, one out"),
    "compare": Command(compare, "how much adapters overlap, layer by layer, beside chance"),
    "align": Command(align, "rewrite adapters so that their factors match those of the first"),
    "inspect": Command(inspect, "what is in an adapter: base model, ranks, norms, warnings"),
    "resize": Command(resize, "the same adapter with lower ranks, each where it is needed"),
    "convert": Command(convert, "the same adapter in another format"),
    "reproduce": Command(reproduce, "an earlier merge again, and whether it comes out the same"),
    "report": Command(report, "the runs of a sweep on one page: table, fronts, curves"),
}


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
        case ["reproduce", folder, *arguments] if "=" not in folder and not folder.startswith("-"):
            _run_hydra("reproduce", ["lorafold reproduce", f"run={quoted(folder)}", *arguments])
        case ["report", *arguments]:
            _run_hydra("report", ["lorafold report", *plain_folders(arguments, "runs")])
        case [name, *arguments] if name in COMMANDS:
            _run_hydra(name, [f"lorafold {name}", *arguments])
        case [name, *_]:
            fail(f"unknown command {name!r}.{suggest(name, COMMANDS)} The commands are: {', '.join(COMMANDS)}")


def _run_hydra(name: str, argv: list[str]) -> None:
    import hydra

    from lorafold.cli.config import register
    from lorafold.cli.plugins import with_homes

    register(name)
    # argparse, which Hydra asks, knows no settings on both sides of a flag.
    words = sorted(argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    sys.argv = [argv[0], *map(with_homes, words)]
    application = hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(COMMANDS[name].task)
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

    from lorafold.runs.run import Run, cpu_threads  # here, for it imports torch

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
