"""What is dropped on the page in tests, and the server on which it is dropped."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from lorafold.adapters import save
from tests.builders import random_adapter
from tests.command_lines import environment

SHAPES = {
    f"lora_unet_{part}_attentions_0_transformer_blocks_0_attn1_to_{x}": (24, 20)
    for part in ("down_blocks_1", "mid_block", "up_blocks_2")
    for x in "qk"
}
UI = ("-m", "lorafold", "ui")
HOSTILE = "<img src=x onerror=alert(1)>${alert(2)}{{value}}"


def adapter_files(folder: Path, *names: str) -> list[Path]:
    """Small adapters."""
    adapters = (random_adapter("kohya", SHAPES, 4, seed=seed) for seed in range(len(names)))
    return [save(adapter, folder / f"{name}.safetensors") for adapter, name in zip(adapters, names, strict=True)]


def hostile_files(folder: Path) -> list[Path]:
    """A pickle in disguise, a header without end, and NaN."""
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"a": [1] * 1000}))
    (folder / "huge.safetensors").write_bytes((2**64 - 1).to_bytes(8, "little") + bytes(200))
    (sound,) = adapter_files(folder, "nan")
    tensors = load_file(sound)
    tensors[next(key for key in tensors if "lora_up" in key)][0] = float("nan")
    save_file(tensors, sound)
    return [folder / f"{name}.safetensors" for name in ("pickle", "huge", "nan")]


@dataclass(frozen=True)
class Server:
    """A running `lorafold ui`: its address, and the folder in which its temporary files lie."""

    address: str
    temporary: Path

    def left(self) -> list[str]:
        """Files that it holds of anybody."""
        return [path.name for path in self.temporary.rglob("*.*") if path.is_file()]


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[Server]:
    """`python WORDS` in a process of its own, ended as with Ctrl-C; nothing of it stays."""
    temporary, here = folder / "tmp", folder / "here"
    for place in (temporary, here):
        place.mkdir()
    command = [sys.executable, *words]
    env = environment(TMPDIR=str(temporary), OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")
    with subprocess.Popen(
        command, cwd=here, env=env, stdout=subprocess.PIPE, text=True, preexec_fn=_with_ctrl_c
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            assert line.endswith("(Ctrl-C ends it)\n"), line
            yield Server(line.split()[2], temporary)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    assert process.returncode == 0
    assert [*temporary.glob("lorafold-ui-*")] == [] and [*here.iterdir()] == []


def _with_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
