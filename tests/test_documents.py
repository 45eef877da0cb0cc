"""Every block of code in the documents does what it stands for, on small adapters under the names that it uses."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from shutil import copytree
from textwrap import dedent
from typing import NamedTuple

import pytest

from lorafold.adapters import save
from tests.builders import random_adapter
from tests.cli.test_every_command import PAIR, SHAPES
from tests.command_lines import ROOT

PROGRAM = "python -m lorafold "
FORMULAS = ("subspace_weight · ", "φ = ")  # indented as code is, and no code

# What a block finds where it is run: a PEFT model with two adapters.
LIVE_MODEL = """
from collections import OrderedDict
from peft import LoraConfig, get_peft_model
from torch.nn import Linear, Sequential
config = LoraConfig(r=2, target_modules=["q", "v"], init_lora_weights=False)
model = get_peft_model(Sequential(OrderedDict(q=Linear(12, 8), v=Linear(8, 12))), config, adapter_name={0!r})
model.add_adapter({1!r}, config)
"""


class Block(NamedTuple):
    """A block of a document: Python, or lines for a shell."""

    document: str
    python: bool
    text: str


def blocks() -> list[Block]:
    """Fenced ones and indented ones, but for the formulas."""
    result = []
    pages = (path for path in sorted((ROOT / "docs").glob("**/*.md")) if path.parent.name != "extend")  # see tests/docs
    for path in (ROOT / "README.md", *pages):
        text = path.read_text(encoding="utf-8")
        fenced = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text)
        rest = re.sub(r"(?ms)^```.*?^```$", "", text)
        indented = re.findall(r"(?m)(?<=\n\n)(?:    .+\n)+", rest)
        result += [Block(path.name, language == "python", content) for language, content in fenced]
        result += [Block(path.name, False, dedent(content).replace("\\\n", " ")) for content in indented]
    return [block for block in result if not block.text.startswith(FORMULAS)]


BLOCKS = blocks()
COMMANDS = {
    (block.document, command): None  # each once, in this order
    for block in BLOCKS
    if not block.python
    for line in block.text.splitlines()
    for command in line.split(" && ")
}
PYTHON = {f"{block.document} {n}": (block.document, block.text) for n, block in enumerate(BLOCKS) if block.python}
# What a command makes gets another name: the one that other commands read is there already, in whatever order they run.
MADE, NEW = ("hydra.sweep.dir=DIR", "output=stats", "output=TUNED", "output=adapter.gguf"), count()
IN_CI = (  # on a fresh machine, by .ci/run
    "pip install -e .",
    "pip install -e '.[test]'",
    "python -m pytest",
    "python -m lorafold merge objective=chordal rank=32",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, warm):
    """For each document a folder of its own: two adapters, one in two formats, a run RUN and a sweep DIR."""
    plain = cache(lambda: filled(tmp_path_factory.mktemp("plain"), warm))
    with_model = cache(lambda: add_model(copytree(plain(), tmp_path_factory.mktemp("with") / "model"), warm))

    def of(document: str) -> Path:
        needs_model = any("base=MODEL" in block.text for block in BLOCKS if block.document == document)
        return copytree((with_model if needs_model else plain)(), tmp_path_factory.mktemp("here") / "own")

    return cache(of)


def filled(place: Path, warm) -> Path:
    for seed, name in enumerate("ab", 1):
        save(random_adapter("kohya", SHAPES, 4, seed=seed), place / f"{name}.safetensors")
    peft = ("convert", "adapters=b.safetensors", "format=peft", "output=peft_folder")
    run = ("merge", PAIR, "rank=3", "hydra.run.dir=RUN")
    sweep = ("merge", PAIR, "rank=2", "-m", "hydra.sweep.dir=DIR", "page=false")
    for words in (peft, run, sweep):
        output = warm.piped(*words, cwd=place)
        assert output.returncode == 0, output.stderr
    return place


def add_model(place: Path, warm) -> Path:
    """A tiny model, adapters of two tasks, inputs of each, what those say, a model with both, and the first as GGUF."""
    folders = pytest.importorskip("tests.clients.folders", exc_type=ImportError)
    folders.model_folder("llama", place / "MODEL")
    for number, (adapter, task) in enumerate(zip(folders.adapter_folders("llama", place), "ab", strict=True), 1):
        adapter.rename(place / f"task_{task}")
        lines = (" ".join(["c", *["a"] * (i % 5), *["b"] * number, "d"]) for i in range(32))
        (place / f"{task}.txt").write_text("\n".join(lines), encoding="utf-8")
    ours = ("base=MODEL", "adapters=[task_a,task_b]")
    gguf = ("convert", "base=MODEL", "adapters=task_a", "target=gguf", "output=adapter.gguf")
    calibrate, fuse = ("calibrate", *ours, "inputs=[a.txt,b.txt]", "output=stats"), ("fuse", *ours, "output=TUNED")
    for words in (calibrate, fuse, *([gguf] if find_spec("gguf") else [])):
        output = warm.piped(*words, cwd=place)
        assert output.returncode == 0, output.stderr
    return place


def test_there_are_blocks_of_both_kinds():
    assert len(COMMANDS) > 12 and len(PYTHON) >= 2


def renamed(word: str) -> str:
    """A setting whose file or folder gets another name of the same kind."""
    setting, _, name = word.partition("=")
    return f"{setting}={Path(name).with_stem(f'{Path(name).stem}_{next(NEW)}')}"


@pytest.mark.parametrize(("document", "command"), COMMANDS, ids=[" ".join(key) for key in COMMANDS])
def test_a_command(warm, folder, document, command):
    """As it stands, but for the shipped pair, in whose place small adapters are merged, and in fewer trials."""
    if command in IN_CI:
        script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace("pip install --quiet", "pip install")
        assert command in script.splitlines()
        return
    assert command.startswith(PROGRAM), f"{command!r} is neither run here nor in .ci/run"
    words = shlex.split(command.removeprefix(PROGRAM).replace("n_trials=20", "n_trials=4"))
    words = [renamed(word) if word in MADE else word for word in words]
    if words[0] == "merge" and all("=" in word or word == "-m" for word in words[1:]) and "adapters=" not in command:
        words.append(PAIR)
    if "sweep=rank_curve" in words:
        words.append("rank=2,4")
    if "optuna" in command:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    if "joblib" in command:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    output = warm.piped(*words, cwd=folder(document))
    assert output.returncode == 0, output.stderr
    assert output.stdout and "Traceback" not in output.stderr


@pytest.mark.parametrize(("document", "code"), PYTHON.values(), ids=PYTHON)
def test_a_block_of_python(warm, folder, document, code):
    pytest.importorskip("peft")
    call = re.search(r'add_merged_adapter\(model, \["(\w+)", "(\w+)"\]', code)
    output = warm.piped(cwd=folder(document), code=(LIVE_MODEL.format(*call.groups()) if call else "") + code)
    assert output.returncode == 0, output.stderr
