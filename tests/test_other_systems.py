"""Windows and consoles of few characters, as far as Linux can play them; and what no file of lorafold may contain."""

from __future__ import annotations

import ast
import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import lorafold
from lorafold.adapters import save
from lorafold.adapters.files import locks
from lorafold.adapters.files.atomic import staged
from lorafold.common import peak_memory
from lorafold.common.shell import _for_windows
from tests import windows
from tests.builders import random_adapter

PACKAGE = Path(lorafold.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize(
    ("encoding", "locale"),
    [
        pytest.param("ascii", "C", id="ascii everywhere", marks=pytest.mark.slow),
        pytest.param("cp1252", "C.UTF-8", id="cp1252 on the console"),
    ],
)
def test_every_command_runs_without_unix_and_with_names_that_cannot_be_printed(encoding, locale, tmp_path):
    """Files opened without an encoding are errors here, too."""
    names = ["φ – ü.safetensors", "猫 Δ.safetensors"]
    for seed, name in enumerate(names):
        shapes = {"lora_unet_ü_φ_to_q": (40, 30), "lora_unet_b_to_k": (20, 30)}
        save(random_adapter("kohya", shapes, 4, seed=seed), tmp_path / name)
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environ |= {"LC_ALL": locale, "PYTHONIOENCODING": encoding}
    options = ("-X", "warn_default_encoding", "-W", "error::EncodingWarning")
    command = (sys.executable, *options, windows.__file__, *names)
    process = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False)
    said, error = process.stdout.decode(encoding), process.stderr.decode(encoding)
    assert process.returncode == 0, error[-3000:]
    begun = [line[0] for line in windows.commands(*names)]
    assert [line.removeprefix("done: ") for line in said.splitlines() if line.startswith("done: ")] == begun
    assert said.count("finished already") == 2
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".lorafold-", "tmp"))]


def imports(tree):
    """The modules that are imported outside of functions and of `try`."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def unsafe(tree):
    """What fails on Windows, or depends on its code page or line ends."""
    yield from (f"import {name}" for name in imports(tree) if name in windows.MODULES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            if node.attr in windows.FUNCTIONS and node.attr != "sched_getaffinity":  # which is asked for first
                yield f"os.{node.attr}"
    for call in filter(of_a_text_file, calls(tree)):
        missing = {"encoding"} | ({"newline"} if call.func.attr == "write_text" else set())
        yield from missing - {keyword.arg for keyword in call.keywords}


def of_a_text_file(call):
    """A method of a path; ruff sees to it that there is no other way."""
    if not isinstance(call.func, ast.Attribute) or ast.unparse(call.func) == "os.open":
        return False
    binary = any(isinstance(word, ast.Constant) and "b" in str(word.value) for word in call.args)
    return call.func.attr in ("read_text", "write_text") or (call.func.attr == "open" and not binary)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_source_needs_unix_or_a_code_page(path):
    assert list(unsafe(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_that_test_sees_what_it_is_for():
    text = "import fcntl, os\nos.fork()\npath.open('r')\npath.write_text('x', encoding='utf-8')\n"
    assert len(list(unsafe(ast.parse(text)))) == 4
    assert list(unsafe(ast.parse("path.open('rb')\nos.open('x', 0)\npath.read_text(encoding='utf-8')"))) == []


class Kernel:
    """The two functions of kernel32 that are called."""

    class GetCurrentProcess:
        def __new__(cls):
            return 2**64 - 1

    class K32GetProcessMemoryInfo:
        answer = 1

        def __new__(cls, process, counters, size):
            assert (process, size, ctypes.sizeof(peak_memory._Counters)) == (2**64 - 1, 72, 72)
            counters._obj.PeakWorkingSetSize = 300 * 2**20
            return cls.answer


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_size_t) != 8, reason="sizes of 64 bits")
def test_the_peak_of_memory_on_windows(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory.peak_rss_mb() is None  # neither Unix nor Windows
    monkeypatch.setattr(ctypes, "WinDLL", lambda name: Kernel, raising=False)
    assert peak_memory.peak_rss_mb() == 300
    monkeypatch.setattr(Kernel.K32GetProcessMemoryInfo, "answer", 0)
    assert peak_memory.peak_rss_mb() is None


def test_the_peak_of_memory_on_unix(monkeypatch):
    """Linux counts in KiB, macOS in bytes."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3 * 2**20))
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory.peak_rss_mb() == 3072
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory.peak_rss_mb() == 3


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (r"C:\my\outputs", r"C:\my\outputs"),
        (r"C:\my files\run", '"C:\\my files\\run"'),
        ("weights=[0.7,0.3]", '"weights=[0.7,0.3]"'),
        ("a&calc", '"a&calc"'),
        ("", '""'),
        *(
            (word, None)
            for word in ('"&calc&"', "%PATH%", "$(calc)", "`calc`", "“calc”", "C:\\my files\\", "a\nb", "!x!")
        ),
    ],
)
def test_a_line_that_both_shells_of_windows_read_alike(word, expected):
    assert _for_windows([word]) == expected


def test_without_locks_on_folders_an_open_file_keeps_what_is_being_written(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    real = Path.unlink

    def unlink(path, *arguments, **options):
        if windows.in_use(path):
            raise PermissionError(13, "The process cannot access the file", str(path))
        real(path, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", unlink)
    with staged(tmp_path / "one") as living:
        living.write_text("whole")
        dead = tmp_path / ".lorafold-dead"
        dead.mkdir()
        (dead / "in-use").touch()  # as a killed process leaves it, with half of a file
        (dead / "new").write_text("ha")
        (tmp_path / ".lorafold-new").mkdir()  # as it is for a moment before its mark is there
        with staged(tmp_path / "other") as scratch:
            scratch.write_text("too")
        assert not dead.exists()
        assert (tmp_path / ".lorafold-new").exists()
    assert (tmp_path / "one").read_text() == "whole" and (tmp_path / "other").read_text() == "too"
    (tmp_path / ".lorafold-new").rmdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]
