"""Test runs on a scratch copy of the checkout: one process imports the heavy packages once and forks for each run."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

_HEAVY = (
    "torch",
    "geoopt",
    "safetensors.torch",
    "scipy.optimize",
    "omegaconf",
    "hydra",
    "rich.console",
    "peft",
    "diffusers",
)


class Copy:
    """The tracked and new files of a checkout, once more; what is run there leaves the checkout alone."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root, self.folder = root, home / "copy"
        self.home = home

    def refresh(self) -> None:
        """Make the copy again, but keep the bytecode of files that have not changed."""
        names = set(_tracked(self.root))
        for name in names:
            source, target = self.root / name, self.folder / name
            if not target.exists() or source.read_bytes() != target.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        for path in self.folder.rglob("*.py"):
            if path.relative_to(self.folder).as_posix() not in names:
                path.unlink()

    def sources(self) -> list[str]:
        """The Python files of the packages in the wheel: neither tests nor scripts."""
        settings = tomllib.loads((self.folder / "pyproject.toml").read_text())
        packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        paths = (path for package in packages for path in (self.folder / package).rglob("*.py"))
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)

    @contextlib.contextmanager
    def changed(self, file: str, content: bytes) -> Iterator[None]:
        """The copy with another content of one file."""
        self._backup.write_text(json.dumps([file, (self.folder / file).read_bytes().decode()]))
        self._write(file, content)
        try:
            yield
        finally:
            self.restore()

    def restore(self) -> None:
        """Undo a change, also one that a killed process has left."""
        if self._backup.exists():
            file, content = json.loads(self._backup.read_text())
            self._write(file, content.encode())
            self._backup.unlink()

    @property
    def _backup(self) -> Path:
        return self.home / "changed.json"

    def _write(self, file: str, content: bytes) -> None:
        """Replace a file and forget its bytecode, which is looked up by size and second of the last change."""
        path = self.folder / file
        path.write_bytes(content)
        for cached in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            cached.unlink()


def _tracked(root: Path) -> list[str]:
    listing = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, check=True, text=True).stdout.split("\0")
    return [name for name in names if name and (root / name).is_file()]


def preload() -> None:
    """Import what is slow to import and none of what is tested, at the lowest priority."""
    os.nice(19)
    os.environ["OMP_NUM_THREADS"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _HEAVY:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def forked(work: Callable[[], int], seconds: int | None, log: Path) -> int:
    """The exit status of `work` in a child with its own output, or -signal; `seconds` limits its processor time."""
    child = os.fork()
    if child == 0:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(output, 1), os.dup2(output, 2), os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            signal.alarm(30 * seconds)  # for what waits without computing; far from what a loaded machine needs
        status = 70
        try:
            status = work()
        finally:
            sys.stdout.flush()
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


def pytest_in(copy: Copy, arguments: Sequence[str], plugins: Sequence[Any] = (), *, keep_bytecode: bool = False) -> int:
    """Run pytest inside the copy, in a forked child."""
    import pytest

    os.chdir(copy.folder)
    sys.path[:] = [str(copy.folder), *(path for path in sys.path if Path(path).resolve() != copy.root)]
    os.environ["PYTHONPATH"] = str(copy.folder)
    _without_timeouts()
    sys.dont_write_bytecode = not keep_bytecode
    if not keep_bytecode:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--durations=0",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    temporary = copy.home / "tmp"
    return int(pytest.main([*options, f"--basetemp={temporary}", *arguments], plugins=[*plugins]))


def _without_timeouts() -> None:
    """How long a process takes is a matter of what else the machine does; that of the processor is limited instead."""
    communicate, wait = subprocess.Popen.communicate, subprocess.Popen.wait
    subprocess.Popen.communicate = lambda self, input=None, timeout=None: communicate(self, input)
    subprocess.Popen.wait = lambda self, timeout=None: wait(self)


class Map:
    """Which test cases execute which line, and how long each takes."""

    def __init__(self, copy: Copy) -> None:
        self.copy, self.data, self.times = copy, copy.home / "map.coverage", copy.home / "cases.json"
        self.seconds: dict[str, float] = json.loads(self.times.read_text()) if self.times.exists() else {}
        self._lines: dict[str, dict[int, list[str]]] = {}

    def measure(self, tests: Sequence[str]) -> None:
        """Run these tests (all without any) under coverage, one context for each case, and add what they execute."""
        fresh = self.copy.home / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        status = forked(lambda: self._traced(fresh, tests), None, self.copy.home / "map.log")
        seconds = json.loads((fresh / "cases.json").read_text())
        kept = {case: time for case, time in self.seconds.items() if tests and not case.startswith(tuple(tests))}
        self.seconds = kept | seconds
        self._combine(fresh, keep=bool(tests))
        self.times.write_text(json.dumps(self.seconds))
        print(f"{len(seconds)} passing cases, {sum(seconds.values()):.0f} s (pytest's status {status}, see map.log)")

    def _traced(self, fresh: Path, tests: Sequence[str]) -> int:
        import coverage

        settings = fresh / "coveragerc"
        top = sorted({str(self.copy.folder / Path(name).parts[0]) for name in self.copy.sources()})
        lines = ["source =", *(f"  {folder}" for folder in top), "parallel = true", f"data_file = {fresh / 'data'}"]
        lines += ["context = ${PYTEST_CURRENT_TEST-}"]  # of the case that starts a process, in that process
        settings.write_text("[run]\n" + "\n".join(lines) + "\n")
        os.environ["COVERAGE_PROCESS_START"] = str(settings)
        measured = coverage.Coverage(config_file=str(settings), context=None)
        measured.start()
        status = pytest_in(self.copy, tests, [_Contexts(measured, fresh / "cases.json")], keep_bytecode=True)
        measured.stop()
        measured.save()
        return status

    def _combine(self, fresh: Path, *, keep: bool) -> None:
        import coverage

        if not keep:
            self.data.unlink(missing_ok=True)
        combined = coverage.CoverageData(basename=str(self.data))
        combined.read()
        for path in fresh.glob("data.*"):
            one = coverage.CoverageData(basename=str(path))
            one.read()
            combined.update(one)
        self._lines.clear()

    def lines(self, file: str) -> dict[int, list[str]]:
        """The cases that execute each line of a file, when not merely by importing it."""
        import coverage

        if file not in self._lines:
            data = coverage.CoverageData(basename=str(self.data))
            data.read()
            contexts = data.contexts_by_lineno(str(self.copy.folder / file))
            self._lines[file] = {
                line: sorted({_case(name) for name in names} & self.seconds.keys()) for line, names in contexts.items()
            }
        return self._lines[file]


def _case(context: str) -> str:
    return (
        context.strip("|").rsplit(" (", 1)[0]
        if context.endswith((" (call)", " (setup)", " (teardown)"))
        else context.strip("|")
    )


class _Contexts:
    """A plugin: one context and one time for each case; those that fail without any change are left out."""

    def __init__(self, measured: Any, path: Path) -> None:
        self.measured, self.path = measured, path
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.measured.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        passed = {case: time for case, time in self.seconds.items() if case not in self.failed}
        self.path.write_text(json.dumps(passed))
