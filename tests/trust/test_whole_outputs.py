"""Kills and full disks while extract, fuse and merge residual=true write: whole outputs or none, inputs as before."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lorafold.commands.extract.config import ExtractConfig
from lorafold.commands.extract.run import extract
from lorafold.commands.fuse.config import FuseConfig
from lorafold.commands.fuse.run import fuse
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.run import Run
from tests.adapters.checkpoints.models import changed, llama, model_file, model_folder
from tests.adapters.samples import kohya_file, kohya_pair, peft_folder, peft_pair
from tests.builders import one_thread as one_thread
from tests.trust.kills import contents, die_at
from tests.trust.test_faults import limited

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
LAYER = "model.layers.1.mlp.up_proj"


@dataclass(frozen=True)
class Scene:
    """A command that writes over what it wrote before, from other inputs.

    Args:
        outputs: paths of what it writes.
        work: the command, with the first or the second inputs.
    """

    folder: Path
    outputs: tuple[Path, ...]
    work: Callable[[int], object]

    def found(self) -> tuple[dict[str, bytes], ...]:
        """The contents of every output; empty where there is none."""
        return tuple(contents(path) for path in self.outputs)

    def inputs(self) -> dict[str, bytes]:
        return {name: data for name, data in contents(self.folder).items() if "/in/" in name}

    def clean(self) -> bool:
        return not list(self.folder.rglob(".lorafold-*"))


def run_in(folder: Path) -> Run:
    (folder / "run").mkdir(exist_ok=True)
    return Run(folder / "run", folder, alone=False)


def extraction(folder: Path) -> Scene:
    model_folder(folder / "in" / "base", llama(torch.bfloat16))
    for i in range(2):
        model_file(folder / "in" / f"{i}.safetensors", changed(llama(torch.bfloat16), rank=2 + i))
    common = {"base": str(folder / "in" / "base"), "rank": 2, "output": str(folder / "out"), "overwrite": True}
    jobs = [ExtractConfig(tuned=str(folder / "in" / f"{i}.safetensors"), **common) for i in range(2)]
    return Scene(folder, (folder / "out",), lambda i: extract(run_in(folder), jobs[i]))


def fusion(folder: Path) -> Scene:
    model_folder(folder / "in" / "base", llama(torch.bfloat16))
    peft_folder(folder / "in" / "a", peft_pair(LAYER, 40, 16), target_modules=["up_proj"])
    common = {"base": str(folder / "in" / "base"), "output": str(folder / "out"), "overwrite": True}
    jobs = [FuseConfig(adapters=str(folder / "in" / "a"), weights=[1.0 + i], **common) for i in range(2)]
    return Scene(folder, (folder / "out",), lambda i: fuse(run_in(folder), jobs[i]))


def residual(folder: Path, form: str) -> Scene:
    (folder / "in").mkdir()
    if form == "kohya":
        adapters = [
            str(kohya_file(folder / "in" / f"{i}.safetensors", kohya_pair(m=96, n=64, r=2 + i))) for i in range(2)
        ]
    else:
        adapters = [str(peft_folder(folder / "in" / str(i), peft_pair(m=96, n=64, r=2 + i), r=2 + i)) for i in range(2)]
    suffix = ".safetensors" if form == "kohya" else ""
    settings = vars(MergeSettings(rank=1, solver="alternating", residual=True))
    common = {**settings, "adapters": adapters, "output": str(folder / f"m{suffix}"), "overwrite": True, "page": False}
    jobs = [MergeConfig(**{**common, "weights": [1.0, 2.0 + i]}) for i in range(2)]
    outputs = folder / f"m{suffix}", folder / f"m_residual{suffix}"
    return Scene(folder, outputs, lambda i: merge(run_in(folder), jobs[i]))


SCENES: dict[str, Callable[[Path], Scene]] = {
    "extract": extraction,
    "fuse": fusion,
    "residual, file": lambda folder: residual(folder, "kohya"),
    "residual, folder": lambda folder: residual(folder, "peft"),
}
SLOW = pytest.mark.slow
_MOST = 200  # steps, more than there are


def doomed(scene: Scene, step: int) -> bool:
    """Whether the command, in a process of its own, was killed before this step."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        die_at(step)
        scene.work(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize(
    ("name", "stride"),
    [("extract", 13), ("residual, file", 13), *(pytest.param(name, 1, marks=SLOW) for name in SCENES)],
)
def test_killed_at_any_step_it_leaves_whole_outputs_that_fit_or_none(name: str, stride: int, tmp_path: Path) -> None:
    scene = SCENES[name](tmp_path)
    scene.work(1)
    new = scene.found()
    scene.work(0)
    old, before = scene.found(), scene.inputs()
    assert all(a and b and a != b for a, b in zip(old, new, strict=True))
    seen = set()
    for step in range(stride // 2, _MOST, stride):
        if not doomed(scene, step):
            break
        found = scene.found()
        states = ["none" if not now else "old" if now == first else "new" if now == last else "half"
                  for now, first, last in zip(found, old, new, strict=True)]  # fmt: skip
        seen.add(" ".join(states))
        assert "half" not in states and not {"old", "new"} <= set(states), (step, states)
        assert scene.inputs() == before
        if set(states) != {"old"}:
            scene.work(0)
            assert scene.found() == old and scene.clean()
    else:
        pytest.fail("never came to its end")
    assert " ".join(["old"] * len(old)) in seen and (len(seen) > 1 or stride > 1)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("most", [0, 300, 2500])
def test_on_a_full_disk_all_is_as_before(name: str, most: int, tmp_path: Path) -> None:
    scene = SCENES[name](tmp_path)
    scene.work(0)
    old, before = scene.found(), scene.inputs()
    with limited(resource.RLIMIT_FSIZE, most), pytest.raises((LorafoldError, OSError), match="File too large"):
        scene.work(1)
    assert scene.found() == old and scene.inputs() == before and scene.clean()
