"""What people type, rightly and wrongly, with the exit status and the telling part of the answer."""

from __future__ import annotations

import shlex
import shutil

import pytest

from lorafold.adapters import save
from tests.builders import random_adapter
from tests.command_lines import lorafold

ODD = (
    "my style (v2), final=best.safetensors",
    "stil ü [x].safetensors",
    "~tilde.safetensors",
    "it's $x {y}.safetensors",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two small adapters, the first under odd names as well."""
    folder = tmp_path_factory.mktemp("typed")
    for seed, name in enumerate("ab"):
        adapter = random_adapter("kohya", {"lora_unet_mid_block_attentions_0_proj_in": (8, 6)}, 2, seed=seed)
        save(adapter, folder / f"{name}.safetensors")
    for name in ODD:
        shutil.copy(folder / "a.safetensors", folder / name)
    return folder


AB = "merge a.safetensors b.safetensors"
UNDERSTOOD = [
    (f"{AB} rank=2 page=false", "merged adapter: outputs/merge/"),
    (f"merge {shlex.join(ODD)} --rank 2 --no-page -o 'neu (1), ü.safetensors'", "neu (1), ü.safetensors"),
    (f"merge {shlex.quote(ODD[0])} b.safetensors -m rank=1,2 page=false", "rank=2 page=False: phi"),
    ("inspect a.safetensors", "everything else: outputs/inspect/"),
    ("resize a.safetensors --rank=1", "a.safetensors -> outputs/resize/"),
    ("compare a.safetensors b.safetensors --no-page", "Size:"),
    ("align a.safetensors b.safetensors", "a.safetensors stays as it is"),
    ("convert a.safetensors --format peft", "a.safetensors -> outputs/convert/"),
    (f"{AB} --weights 0.7 0.3 --cfg job", "weights:\n- 0.7\n- 0.3"),
    ("help", "usage: lorafold COMMAND"),
    ("help merge", "lorafold merge --help-all: all settings"),
    ("merge --help-all", "\nSettings\n"),
    ("version", "lorafold "),
    ("completion install bash", 'add this line to ~/.bashrc:\neval "$(lorafold completion bash)"'),
]
REFUSED = [
    ("merge a b.safetensors", "a: no such file or folder. Did you mean 'a.safetensors'?"),
    ("merge a.safetensor b.safetensors", "Did you mean 'a.safetensors'?"),
    ("merge nothing/*.safetensors b.safetensors", "nothing/*.safetensors: no such file"),
    ("merge a.safetensors:0.7 b.safetensors:0.3", "name a.safetensors, and write 'weights=[0.7,...]'"),
    ("merge adapters=a.safetensors b.safetensors", "lorafold merge a.safetensors b.safetensors"),
    ("merge adapters=a.safetensors,b.safetensors", "add -m for a run with each of them, or write 'adapters=[a.safe"),
    ("merge 'adapters=a.safetensors b.safetensors'", "their names alone"),
    ("merge user/repo b.safetensors", "hf download user/repo --local-dir repo; then name repo"),
    ("a.safetensors b.safetensors", "Write, for example, lorafold merge a.safetensors b.safetensors"),
    ("info a.safetensors", "Did you mean 'inspect'?"),
    (f"{AB} rank 16", "KEY=VALUE: rank=16"),
    (f"{AB} -r 16", "'16' is no file"),
    (f"{AB} rank=8,16", "'rank=8,16' is several values: add -m"),
    (f"{AB} weights=0.7,0.3", "write 'weights=[0.7,0.3]' for a list"),
    (f"{AB} --objectiv phi", "Did you mean 'objective'?"),
    (f"{AB} --verbose", "unknown flag --verbose"),
    (f"{AB} core=TIES", "Did you mean 'ties'?"),
    (f"{AB} core=linear", "core=peft_linear rank=max"),
    (f"{AB} method=linear", "mergekit's averages the updates: write weights=mean rank=max"),
    (f"{AB} method=ties", "common core: write method=core_ties"),
    (f"{AB} method=dare_ties", "common core: write method=core_dare_ties"),
    (f"{AB} method=slerp", "write core=slerp"),
    (f"{AB} core=svd", "write method=svd"),
    (f"{AB} merge_method=ties", "a rule is chosen by core=NAME"),
    (f"{AB} alpha=0.5", "'weights=[0.7,0.3]'"),
    (f"{AB} strength=0.8", "scale=0.8"),
    (f"{AB} density=0.2", "write core.density=... with one of them"),
    (f"{AB} core.density=0.2", "an option of core=breadcrumbs"),
    (f"{AB} max_steps=9", "solver.max_steps"),
    (f"{AB} dtype=fp16", "Did you mean 'float16'?"),
    (f"{AB} device=gpu", "Choose auto, cpu or cuda"),
    ("convert a.safetensors target=comfyui", "Write format=comfyui"),
    ("completion install tcsh", "one of bash, zsh, fish"),
]


@pytest.mark.parametrize(("line", "answer"), UNDERSTOOD)
def test_what_is_understood(place, line, answer):
    process = lorafold(*shlex.split(line), cwd=place, HOME=str(place))
    assert process.returncode == 0, process.stderr
    assert answer in process.stdout
    assert "\x1b" not in process.stdout


@pytest.mark.parametrize(("line", "answer"), REFUSED)
def test_what_is_refused_with_the_right_spelling(place, line, answer):
    process = lorafold(*shlex.split(line), cwd=place)
    assert process.returncode == 1
    assert answer in process.stderr and process.stderr.startswith("lorafold: error: ")
    assert process.stderr.count("\n") == 1
