"""What can go wrong while a merge runs: the output is there as a whole or not at all, and the message says why."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import lorafold
from lorafold.adapters import Adapter, load, save
from lorafold.adapters.files.atomic import staged
from lorafold.adapters.formats.registry import FORMATS
from lorafold.adapters.save import _check_kind, check_not_input
from lorafold.commands.merge import run
from lorafold.commands.merge.config import MergeConfig
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.run import Run
from tests import command_lines
from tests.adapters.samples import kohya_file, kohya_pair, peft_folder, peft_pair
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter
from tests.trust import kills

SETTINGS = MergeSettings(rank=2, solver="alternating")


def merge(folder: Path, adapters: list[str], output: Path, **options: Any) -> dict[str, Any]:
    (folder / "run").mkdir(exist_ok=True)
    job = MergeConfig(**vars(SETTINGS), adapters=adapters, output=str(output), **{"page": False, **options})
    return run.merge(Run(folder / "run", folder, alone=False), job)


def pair(folder: Path) -> list[str]:
    return [str(kohya_file(folder / f"{name}.safetensors", kohya_pair())) for name in "ab"]


def traces(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith((".lorafold-", "m", "out"))]


def test_kills_at_random_steps(tmp_path: Path) -> None:
    """`python tests/trust/kills.py` does 200."""
    assert sum(kills.storm(8, 0, tmp_path).values()) >= 8


def sample(scale: float, form: str = "peft") -> Adapter:
    return random_adapter(form, {"a": (4, 3)}, 2, scale=scale)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders")
class TestWhatKilledOnesLeave:
    def dead(self, target: Path, at: str) -> None:
        """A process that dies when it is to do `at`."""
        child = os.fork()
        if child == 0:
            setattr(os, at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            save(sample(2.0), target)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def test_is_removed_by_the_next_run(self, tmp_path: Path) -> None:
        self.dead(tmp_path / "m", "fsync")
        assert len(list(tmp_path.glob(".lorafold-*"))) == 1
        save(sample(1.0), tmp_path / "other")
        assert [path.name for path in tmp_path.iterdir()] == ["other"]

    def test_a_folder_between_two_names_gets_its_name_back(self, tmp_path: Path) -> None:
        """Killed after the old folder was moved away, and before the new one took its place."""
        self.between_two_names(tmp_path / "m")
        with pytest.raises(KeyboardInterrupt), staged(tmp_path / "m"):
            raise KeyboardInterrupt
        assert load(tmp_path / "m").modules["a"].scale == 2.0
        assert [path.name for path in tmp_path.iterdir()] == ["m"]

    def test_another_output_does_not_take_its_place(self, tmp_path: Path) -> None:
        self.between_two_names(tmp_path / "m")
        with pytest.raises(KeyboardInterrupt), staged(tmp_path / "other"):
            raise KeyboardInterrupt
        assert load(tmp_path / "m").modules["a"].scale == 2.0
        assert [path.name for path in tmp_path.iterdir()] == ["m"]

    def between_two_names(self, target: Path) -> None:
        """A process replaces a folder and dies half-way."""
        save(sample(1.0), target)
        child = os.fork()
        if child == 0:
            real = os.replace

            def second(source: Any, destination: Any) -> None:
                if Path(source).name == "new":
                    os.kill(os.getpid(), signal.SIGKILL)
                real(source, destination)

            os.replace = second  # type: ignore[assignment]
            save(sample(2.0), target)
        os.waitpid(child, 0)
        assert not target.exists()

    def test_what_living_ones_write_is_left_alone(self, tmp_path: Path) -> None:
        with staged(tmp_path / "one") as scratch:
            scratch.write_text("1")
            save(sample(1.0), tmp_path / "m")
            assert scratch.read_text() == "1"
        assert (tmp_path / "one").read_text() == "1"


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.mark.parametrize("form", ["kohya", "peft"])
@pytest.mark.parametrize("most", [0, 100, 3000])
def test_a_full_disk(tmp_path: Path, form: str, most: int) -> None:
    target = tmp_path / ("m.safetensors" if form == "kohya" else "m")
    adapter = random_adapter(form, {f"lora_unet_{i}": (40, 30) for i in range(5)}, 2)
    save(replace(adapter, modules=dict(list(adapter.modules.items())[:1])), target)
    before = kills.contents(target)
    with limited(resource.RLIMIT_FSIZE, most), pytest.raises(LorafoldError, match=r"cannot be written.*File too large"):
        save(adapter, target)
    assert kills.contents(target) == before
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_no_descriptor_left(tmp_path: Path) -> None:
    adapters = pair(tmp_path)
    with limited(resource.RLIMIT_NOFILE, 3), pytest.raises(LorafoldError, match=r"a.safetensors: not a readable"):
        lorafold.load(adapters[0])


@pytest.mark.parametrize("place", ["/proc/m.safetensors", "/proc/self/m.safetensors", "/dev/null/m.safetensors"])
def test_a_place_that_cannot_be_written_to(tmp_path: Path, place: str) -> None:
    """Not by root either."""
    with pytest.raises(LorafoldError, match=rf"^{place}: cannot be written"):
        merge(tmp_path, pair(tmp_path), Path(place))
    assert not traces(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(LorafoldError, match=r"m.safetensors: cannot be written.*Permission denied"):
        merge(tmp_path, pair(tmp_path), tmp_path / "closed" / "m.safetensors")
    assert not list((tmp_path / "closed").iterdir())


CHANGES: dict[str, Callable[[Path], object]] = {
    "other numbers": lambda file: file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1"),
    "touched": lambda file: os.utime(file, ns=(0, 0)),
    "replaced": lambda file: kohya_file(file.with_name("new"), kohya_pair(r=3)).replace(file),
    "removed": lambda file: file.unlink(),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("which", [0, 1])
def test_an_input_that_changes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], which: int
) -> None:
    adapters = pair(tmp_path)
    real = run.merge_adapters

    def slow(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        change(Path(adapters[which]))
        return result

    monkeypatch.setattr(run, "merge_adapters", slow)
    with pytest.raises(LorafoldError) as caught:
        merge(tmp_path, adapters, tmp_path / "m.safetensors")
    assert str(caught.value).startswith(f"{adapters[which]}: ")
    assert not traces(tmp_path)


def test_a_configuration_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = peft_folder(tmp_path / "a", peft_pair()), run.merge_adapters

    def slow(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        peft_folder(tmp_path / "a", peft_pair(), lora_alpha=100)
        return result

    monkeypatch.setattr(run, "merge_adapters", slow)
    with pytest.raises(LorafoldError, match="changed while it was read"):
        merge(tmp_path, [str(folder)], tmp_path / "m")
    assert not traces(tmp_path)


TRUNCATED = """
import os, sys, lorafold
adapter = lorafold.load(sys.argv[1])
os.truncate(sys.argv[1], 4096)
lorafold.save(lorafold.merge([adapter], rank=2).adapter, sys.argv[2])
"""


def test_an_input_cut_off_while_it_is_mapped_leaves_no_output(tmp_path: Path) -> None:
    """The system ends the process: no program can go on without its memory."""
    source = kohya_file(tmp_path / "a.safetensors", kohya_pair(m=5000, n=4000))
    process = command_lines.python("-c", TRUNCATED, str(source), str(tmp_path / "m.safetensors"))
    assert process.returncode == -signal.SIGBUS
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_many_that_write_one_output_at_once(tmp_path: Path, form: str) -> None:
    """Every one succeeds, and what remains is the whole work of one of them."""
    target = tmp_path / ("m.safetensors" if form == "kohya" else "m")
    failed: list[Exception] = []

    def write(scale: float) -> None:
        try:
            for _ in range(5):
                save(sample(scale, form), target)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(float(scale),)) for scale in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    found = load(target).modules["a"]
    assert found.scale in (1.0, 2.0, 3.0, 4.0) and torch.equal(found.up, sample(1.0, form).modules["a"].up)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_folder_that_another_run_exchanges_is_still_a_folder(tmp_path: Path) -> None:
    """The checks before writing take one look: between two, the folder may have been moved away for a moment."""
    target, aside, stop = tmp_path / "m", tmp_path / "aside", threading.Event()
    target.mkdir()

    def exchange() -> None:
        while not stop.is_set():
            target.rename(aside)
            aside.rename(target)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(3000):
            _check_kind(FORMATS["peft"], target)
            check_not_input(target, [tmp_path / "other"])
    finally:
        stop.set()
        thread.join()


# A shell's background job inherits an ignored SIGINT.
SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from lorafold.commands.merge import run
real = run.save
def slow(*arguments, **options):
    print("saving", flush=True)
    while True:
        time.sleep(0.01)
    return real(*arguments, **options)
run.save = slow
sys.argv = ["lorafold", *sys.argv[1:]]
from lorafold.cli.app import main
main()
"""


@pytest.mark.parametrize(
    ("number", "status", "words"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, -15, "")]
)
def test_ctrl_c(tmp_path: Path, number: int, status: int, words: str) -> None:
    command = [sys.executable, "-c", SLOW, "merge", f"adapters=[{','.join(pair(tmp_path))}]", "rank=2", "threads=1",
               f"output={tmp_path / 'm.safetensors'}"]  # fmt: skip
    environ = command_lines.environment()
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        assert any("saving" in line for line in child.stdout)
        child.send_signal(number)
        assert child.wait() == status
        error = child.stderr.read()
    assert words in error and "Traceback" not in error
    assert not list(tmp_path.glob("m.safetensors")) and not list(tmp_path.rglob(".lorafold-*"))
