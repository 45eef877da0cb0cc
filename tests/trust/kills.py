"""Merges that are killed: at a random moment, or at a random one of the steps that write.

    python tests/trust/kills.py --count 200

Afterwards an output is there as a whole or not at all, the inputs are as they were, and the next merge leaves no trace
of the killed ones.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from lorafold.commands.merge import run
from lorafold.commands.merge.config import MergeConfig
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.run import Run
from tests.adapters.samples import kohya_file, kohya_pair, peft_folder, peft_pair

NAMES = tuple(f"block.{i}.q_proj" for i in range(6))


def inputs(folder: Path, form: str) -> list[str]:
    """Two adapters, of some 100 kB each."""
    if form == "kohya":
        pairs = [kohya_pair(f"lora_unet_{name}", m=512, n=384, r=4) for name in NAMES]
        tensors = {key: value for pair in pairs for key, value in pair.items()}
        return [str(kohya_file(folder / f"{i}.safetensors", tensors)) for i in "ab"]
    pairs = [peft_pair(name, m=512, n=384, r=2) for name in NAMES]
    tensors = {key: value for pair in pairs for key, value in pair.items()}
    return [str(peft_folder(folder / i, tensors)) for i in "ab"]


class Scene:
    """A folder with two adapters and the merge of them that is to be killed."""

    def __init__(self, folder: Path, form: str) -> None:
        self.folder, self.form = folder, form
        self.adapters = inputs(folder, form)
        self.target = folder / "out" / ("m.safetensors" if form == "kohya" else "m")
        self.before = contents(folder)
        (folder / "run").mkdir()
        start = time.monotonic()
        self.merge()
        self.seconds = time.monotonic() - start
        self.expected = contents(self.target)

    def merge(self) -> None:
        """In this process."""
        settings = MergeSettings(rank=2, solver="alternating")
        job = MergeConfig(**vars(settings), adapters=self.adapters, output=str(self.target), overwrite=True, page=False)
        run.merge(Run(self.folder / "run", self.folder, alone=False), job)

    def killed(self, random: Random) -> str:
        """Merge in a process that dies; what it came to, after checking what it left."""
        existing = random.random() < 0.5
        if not existing and self.target.exists():
            shutil.rmtree(self.target) if self.target.is_dir() else self.target.unlink()
        after, step = (
            (random.uniform(0, 1.2 * self.seconds), 0) if random.random() < 0.3 else (None, random.randrange(60))
        )
        child = os.fork()
        if child == 0:
            self._doomed(after, step)
        status = os.waitpid(child, 0)[1]
        found = contents(self.target)
        assert found in ({}, self.expected), "half an output"
        inputs_now = {path: data for path, data in contents(self.folder).items() if path in self.before}
        assert inputs_now == self.before, "an input was changed"
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0, "the merge failed by itself"
            return "done before"
        if existing and not found:
            return "killed; the folder was between two names"
        return "killed; there is an output" if found else "killed; there is none"

    def _doomed(self, after: float | None, step: int) -> None:
        """The child: dies by itself at the given step, or after so many seconds by an alarm."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if after is None:
            die_at(step)
        else:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, max(after, 1e-6))
        try:
            self.merge()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)

    def settled(self) -> None:
        """After a merge that nothing disturbs."""
        self.merge()
        assert contents(self.target) == self.expected
        assert not list(self.folder.rglob(".lorafold-*")), "scratch folders are left"


def contents(path: Path) -> dict[str, bytes]:
    """Of every file at a path, by its whole name."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file): file.read_bytes() for file in files}


def die_at(step: int) -> None:
    """SIGKILL before the step-th call of any function that changes the disk."""
    left = [step]

    def deadly(function):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for name in ("fsync", "replace", "mkdir", "open", "unlink", "rmdir", "close"):
        setattr(os, name, deadly(getattr(os, name)))


def storm(count: int, seed: int, folder: Path) -> Counter[str]:
    """So many kills, of both kinds of output by turns."""
    random, outcomes = Random(seed), Counter[str]()
    scenes = []
    for form in ("kohya", "peft"):
        (folder / form).mkdir()
        scenes.append(Scene(folder / form, form))
    while sum(kills for what, kills in outcomes.items() if what.startswith("killed")) < count:
        outcomes[scenes[sum(outcomes.values()) % 2].killed(random)] += 1
    for scene in scenes:
        scene.settled()
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for what, kills in storm(given.count, given.seed, Path(folder)).most_common():
            print(f"{kills:5d} {what}")


if __name__ == "__main__":
    main()
