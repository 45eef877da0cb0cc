"""Commands at the price of a fork: a process that has imported torch once and becomes one command after the other.

It runs no parallel region of its own, so that its children are as good as new. Run as a program it is that process:
a request a line on standard input, an answer a line on standard output. Not on Windows.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import importlib
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from lorafold.cli.app import main
from lorafold.commands import COMMANDS

ROOT = Path(__file__).parents[1]
# What commands with such a word among their arguments import at length, where it is installed.
DEAR = {
    "base=": ("transformers.models.llama.modeling_llama", "transformers.models.auto.tokenization_auto", "peft"),
    "optuna": ("optuna", "hydra_plugins.hydra_optuna_sweeper._impl"),
    "joblib": ("hydra_plugins.hydra_joblib_launcher._core",),
    "report": ("matplotlib.backends.backend_svg",),
}


class Output(NamedTuple):
    """What a program wrote, and the exit status; on a terminal both streams are one, `stdout`."""

    returncode: int
    stdout: str
    stderr: str = ""


class Forks:
    """Runs `lorafold` or code in children of one warm process.

    Args:
        environment: of all the commands, beside that of the tests.
    """

    def __init__(self, **environment: str) -> None:
        self._own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
        # -P: the files beside this one are no modules of the command
        command = (sys.executable, "-P", "-W", "ignore", __file__)
        environ = {**os.environ, **self._own}
        self._server = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def piped(self, *arguments: str, cwd: Path, code: str | None = None, **environment: str) -> Output:
        """`lorafold ARGUMENTS`, or Python code, in `cwd`, its streams going to files."""
        return self._ask(arguments=arguments, cwd=str(cwd), code=code, columns=0, environment=environment)

    def on_a_terminal(
        self, *arguments: str, cwd: Path, columns: int = 80, code: str | None = None, **environment: str
    ) -> Output:
        """The same on a terminal of so many columns."""
        return self._ask(arguments=arguments, cwd=str(cwd), code=code, environment=environment, columns=columns)

    def close(self) -> None:
        """End the process."""
        self._server.communicate()

    def _ask(self, **request: Any) -> Output:
        assert self._server.stdin is not None and self._server.stdout is not None
        request["environment"] = {**os.environ, **self._own, **request["environment"]}
        print(json.dumps(request), file=self._server.stdin, flush=True)
        status, *streams = json.loads(self._server.stdout.readline())
        return Output(status, *(base64.b64decode(stream).decode() for stream in streams))


def _capture_on_a_terminal(columns: int) -> tuple[int, bytes] | None:
    """Fork: None in the child, whose terminal has so many columns; in the parent its status and what it wrote."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        return None
    written = b""
    try:
        while chunk := os.read(terminal, 65536):
            written += chunk
    except OSError:  # on Linux the end of a terminal is an error
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written


def _capture_in_files() -> tuple[int, bytes, bytes] | None:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path(os.devnull).open() as nothing:
        pid = os.fork()
        if pid == 0:
            for number, file in enumerate((nothing, out, err)):
                os.dup2(file.fileno(), number)
            return None
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0), err.seek(0)
        return status, out.read(), err.read()


def _become(request: dict[str, Any]) -> NoReturn:
    """The command itself, with streams as Python makes them for a new process."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        lines = 1 if name == "stderr" or os.isatty(number) else -1
        stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False, buffering=lines)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.argv = ["lorafold", *request["arguments"]]
    try:
        if request["code"] is None:
            main()
        else:
            exec(compile(request["code"], "<block>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    import logging

    logging.shutdown()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)


def _import_for(arguments: list[str]) -> None:
    """What the command takes seconds to import, once for all that need it."""
    for word, modules in DEAR.items():
        if any(word in argument for argument in arguments):
            for name in modules:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)


def _serve() -> None:
    """Answer until there are no more requests."""
    import geoopt  # noqa: F401, this and the next: what commands import once they need it
    import torch._dynamo  # noqa: F401
    from hydra.core.plugins import Plugins

    modules = (
        "cli.config",
        "integrations.peft",
        *(f"commands.{command.function.partition(':')[0]}" for command in COMMANDS.values()),
    )
    for name in modules:
        importlib.import_module(f"lorafold.{name}")
    Plugins.instance()  # looks for Hydra's plugins, as every command does

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        _import_for(request["arguments"])
        captured = _capture_on_a_terminal(request["columns"]) if request["columns"] else _capture_in_files()
        if captured is None:
            _become(request)
        status, *streams = captured
        print(
            json.dumps([status, *(base64.b64encode(stream).decode() for stream in streams)]), file=answers, flush=True
        )


if __name__ == "__main__":
    _serve()
