"""As much of Windows as Linux can play, for a process of its own: `python tests/windows.py FIRST SECOND`.

Runs every command in turn on two adapter files. lorafold finds no module and no function that only Unix has; no folder
can be opened; and no file is replaced, moved or removed while this process has it open or mapped.
"""

from __future__ import annotations

import builtins
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
FUNCTIONS = ("fork", "forkpty", "getuid", "geteuid", "getgid", "sched_getaffinity", "mkfifo", "statvfs", "chown")


def asking() -> str:
    """The module whose code called the function that asks."""
    return str(sys._getframe(2).f_globals.get("__name__", ""))


def without_unix() -> None:
    real = builtins.__import__

    def find(name: str, *arguments: Any, **options: Any) -> Any:
        if name in MODULES and asking().startswith("lorafold"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *arguments, **options)

    builtins.__import__ = find
    for name in FUNCTIONS:
        delattr(os, name)


def in_use(path: Any) -> bool:
    """Whether this process has the file, or one below the folder, open or mapped."""
    whole = os.path.realpath(path)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    mapped = [line.split(maxsplit=5)[5] for line in maps.splitlines() if "/" in line]
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    names = [*map(str.strip, mapped), *(str(link.readlink()) for link in links)]
    return any(name == whole or name.startswith(f"{whole}/") for name in names)


def with_stubborn_files() -> None:
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    real_open = os.open

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*paths: Any, **options: Any) -> Any:
            if asking() != "tempfile" and any(in_use(path) for path in paths):
                raise PermissionError(13, "The process cannot access the file", paths[0])
            return real(*paths, **options)

        return change

    def opening(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *arguments, **options)

    os.open = opening
    for name in ("replace", "rename", "unlink", "remove", "rmdir"):
        setattr(os, name, refusing(getattr(os, name)))


def commands(first: str, second: str) -> list[list[str]]:
    quick = ["solver=alternating", "threads=1"]
    pair, one = f'adapters=["{first}","{second}"]', f'adapters=["{first}"]'
    return [
        ["--help"],
        ["merge", "--help"],
        ["merge", pair, *quick, "rank=2", "hydra.run.dir=run"],
        ["merge", pair, *quick, "rank=3", "hydra.run.dir=run", "overwrite=true"],
        ["merge", pair, *quick, "rank=2", "output=merged.safetensors"],
        ["merge", pair, *quick, "rank=2", "output=merged.safetensors", "overwrite=true", "page=false"],
        ["merge", "-m", pair, *quick, "rank=1,2", "page=false", "hydra.sweep.dir=sweep"],
        ["merge", "-m", pair, *quick, "rank=1,2", "page=false", "hydra.sweep.dir=sweep", "resume=true"],
        ["merge", pair, *quick, "rank=2", "path=2"],
        ["compare", pair],
        ["align", pair],
        ["inspect", pair, "csv=true"],
        ["resize", one, "rank=1"],
        ["convert", one, "format=kohya"],
        ["reproduce", "run"],
        ["report", "sweep", "hydra.run.dir=report"],
    ]


def main(first: str, second: str) -> None:
    from lorafold.cli import app as cli

    for line in commands(first, second):
        sys.argv = ["lorafold", *line]
        try:
            cli.main()
        except SystemExit as end:
            if end.code:
                raise
        print(f"done: {line[0]}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    warnings.filterwarnings("ignore", category=EncodingWarning, module="matplotlib")  # of its own files
    without_unix()
    with_stubborn_files()
    main(*sys.argv[1:])
