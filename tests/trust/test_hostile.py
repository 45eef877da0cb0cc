"""What a stranger may send, by hand: each is refused with the file and the key, before anything is written."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import lorafold
from tests import command_lines
from tests.adapters.samples import kohya_file, kohya_pair, normal, peft_folder, peft_pair
from tests.builders import one_thread as one_thread
from tests.trust.raw import Entry, Raw, packed, raw
from tests.trust.refusing import refusal
from tests.trust.seeds import seed

UP, DOWN, ALPHA = (f"lora_unet_a.{part}" for part in ("lora_up.weight", "lora_down.weight", "alpha"))
SMALL = b'{"a.alpha":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def file(folder: Path, content: bytes) -> Path:
    (folder / "a.safetensors").write_bytes(content)
    return folder / "a.safetensors"


def entries(*more: Entry, **changes: object) -> bytes:
    """A sound pair with an alpha; fields of the up factor changed, entries added."""
    sound = raw({**kohya_pair(), ALPHA: torch.tensor(2.0)}.items())
    for name, value in changes.items():
        setattr(sound.entries[sound.keys().index(UP)], name, value)
    return Raw([*sound.entries, *more]).pack()


# What the library that reads the file finds has no key, or one in its own words.
BYTES = {
    "header of 2^64 - 1 bytes": (packed(SMALL, bytes(4), 2**64 - 1), "header too large"),
    "header longer than the file": (packed(SMALL, bytes(4), 10**6), "not a readable"),
    "header shorter than it is": (packed(SMALL, bytes(4), 20), "not a readable"),
    "empty header": (packed(b"", bytes(4)), "not a readable"),
    "no UTF-8": (packed(SMALL.replace(b"a.", b"\xff."), bytes(4)), "UTF-8"),
    "half a surrogate": (packed(SMALL.replace(b"a.", b"\\ud800."), bytes(4)), "not a readable"),
    "deep lists": (packed(b"[" * 10**6), "not a readable"),
    "deep objects": (packed(b'{"a":' * 10**5), "recursion limit"),
    "deep metadata": (packed(b'{"__metadata__":{"a":' + b"[" * 10**4 + b"]" * 10**4 + b"}}"), "not a readable"),
    "metadata of numbers": (packed(b'{"__metadata__":{"a":1}}'), "not a readable"),
    "overlapping": (entries(shift=(-4, -4)), "invalid offset"),
    "beyond the end": (entries(shift=(0, 10**9)), "not a readable"),
    "end before start": (entries(shift=(100, 0)), "invalid offset"),
    "negative offset": (entries(shift=(-(10**6), 0)), "not a readable"),
    "huge shape": (entries(shape=[2**40, 2**40]), "overflow"),
    "huge shape of nothing": (entries(shape=[0, 2**63], data=b""), "not a readable"),
    "huge shape of nothing that fits": (entries(shape=[0, 2**64 - 1], data=b""), "not a readable"),
    "negative shape": (entries(shape=[-6, -2]), "not a readable"),
    "unknown dtype": (entries(dtype="PICKLE"), "unknown variant"),
    "numbers of 6 bits": (entries(dtype="F6_E2M3", data=bytes(9)), "Dtype not understood"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "problem"), BYTES.values(), ids=BYTES)
def test_bytes(tmp_path: Path, content: bytes, problem: str) -> None:
    path = file(tmp_path, content)
    error = refusal(path)
    assert error.path == path and problem in str(error)


def number(value: float, form: str = "<f") -> bytes:
    return struct.pack(form, value)


NAN, INF = number(float("nan")), number(float("inf"))
KEYS = {
    "there twice, with the same numbers": (entries(Entry(UP, "F32", [6, 2], b"", (-48 - 4, -4))), UP, "twice"),
    "an endless name": (entries(Entry("a" * 5000 + ".alpha", "F32", [], bytes(4))), "a" * 5000 + ".alpha", "5006 char"),
    "an endless shape": (entries(Entry("b.alpha", "F32", [1] * 10**5, bytes(4))), "b.alpha", "100000 axes"),
    "a name that writes to the terminal": (
        entries(Entry("\x1b[2J\x1b]0;x\x07\n", "F32", [], bytes(4))), "\x1b[2J\x1b]0;x\x07\n", "not a tensor that"),
    "fp8 scales": (entries(dtype="F8_E8M0", data=bytes(12)), UP, "float8"),
    "fp4": (entries(dtype="F4", data=bytes(6)), UP, "float4"),
    "integers": (entries(dtype="I32"), UP, "int32"),
    "bool": (entries(dtype="BOOL", data=bytes(12)), UP, "bool"),
    "complex": (entries(dtype="C64", data=bytes(96)), UP, "complex"),
    "NaN": (entries(data=NAN + bytes(44)), UP, "NaN or Inf"),
    "Inf": (entries(data=bytes(44) + INF), UP, "NaN or Inf"),
    "no rows": (entries(shape=[0, 2], data=b""), UP, "empty"),
    "no columns, of a huge layer": (entries(shape=[2**62, 0], data=b""), UP, "empty"),
    "another rank": (entries(shape=[4, 3]), UP, "rank 3"),
    "a scalar": (entries(shape=[], data=bytes(4)), UP, "expected 2 to 5 axes"),
    "six axes": (entries(shape=[6, 2, 1, 1, 1, 1]), UP, "expected 2 to 5 axes"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "key", "problem"), KEYS.values(), ids=KEYS)
def test_tensors(tmp_path: Path, content: bytes, key: str, problem: str) -> None:
    path = file(tmp_path, content)
    error = refusal(path)
    assert (error.path, error.key) == (path, key) and problem in str(error)


@pytest.mark.parametrize("value", [NAN, INF, number(float("-inf"))], ids=["NaN", "Inf", "-Inf"])
def test_an_alpha_that_is_no_number(tmp_path: Path, value: bytes) -> None:
    sound = raw({**kohya_pair(), ALPHA: torch.tensor(2.0)}.items())
    sound.entries[-1].data = value
    error = refusal(file(tmp_path, sound.pack()))
    assert error.key == ALPHA and "one finite number" in str(error)


@pytest.mark.parametrize("alpha", [-3.0, 0.0, 1e-45, 1e30, 3e38])
def test_an_alpha_that_is_one_counts_as_it_stands(tmp_path: Path, alpha: float) -> None:
    path = kohya_file(tmp_path / "a.safetensors", {**kohya_pair(), ALPHA: torch.tensor(alpha)})
    found = lorafold.merge([path], rank=2).adapter.modules["lora_unet_a"]
    pair = kohya_pair()
    expected = float(torch.tensor(alpha)) / 2 * pair[UP].double() @ pair[DOWN].double()
    torch.testing.assert_close(found.up.double() @ found.down.double(), expected, rtol=1e-5, atol=0)


def test_subnormal_numbers_are_numbers(tmp_path: Path) -> None:
    tensors = {key: 1e-42 * tensor for key, tensor in kohya_pair().items()}
    module = lorafold.merge([kohya_file(tmp_path / "a.safetensors", tensors)], rank=2).adapter.modules["lora_unet_a"]
    assert bool(module.up.isfinite().all()) and bool(module.down.isfinite().all())


class Largest(TorchDispatchMode):
    """How many elements the largest tensor has that is made meanwhile, in this thread."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.numel = max(self.numel, *sizes, 0)
        return result


def test_a_rank_beyond_the_layer_costs_what_the_layer_costs(tmp_path: Path) -> None:
    """80 kB that would make a Gram matrix of 3 GB."""
    small = kohya_file(tmp_path / "a.safetensors", kohya_pair("lora_unet_a", m=3, n=2, r=1000))
    with Largest() as largest:
        found = lorafold.merge([small, small], rank=2).adapter.modules["lora_unet_a"]
    assert largest.numel <= 1000**2  # the Gram matrix of one file, not of both
    pair = kohya_pair("lora_unet_a", m=3, n=2, r=1000)
    torch.testing.assert_close(found.up @ found.down, pair[UP] @ pair[DOWN], rtol=1e-5, atol=1e-5)
    error = refusal(kohya_file(tmp_path / "b.safetensors", kohya_pair("lora_unet_a", m=3, n=2, r=10000)))
    assert error.key == UP and "rank 10000 of a layer of 3 x 2" in str(error)


@pytest.mark.parametrize(
    "name", ["../../up", "/etc/cron.d/x", "C:\\x", "~root/x", "a/../../b", "$(touch x)", "..", "a\x00b"]
)
def test_names_of_modules_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """They stay inside the files that were asked for."""
    inside = tmp_path / "deep" / "deeper"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    one = kohya_file(inside / "a.safetensors", kohya_pair(f"lora_unet_{name}"))
    two = peft_folder(inside / "b", peft_pair(name), base_model_name_or_path=name, modules_to_save=[name + "x"])
    for path, target in ((one, inside / "out.safetensors"), (two, inside / "out")):
        before = {*tmp_path.rglob("*")}
        result = lorafold.merge([path], rank=2)
        lorafold.save(result.adapter, target)
        assert {*tmp_path.rglob("*")} - before == {target, *(target.iterdir() if target.is_dir() else ())}
        assert [*lorafold.load(target).modules] == [*result.adapter.modules]


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_pickles_beside_the_tensors_are_not_touched(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    folder = peft_folder(tmp_path / "a", peft_pair())
    for name in ("adapter_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "a.ckpt"):
        (folder / name).write_bytes(trap)
    (folder / "sitecustomize.py").write_text("raise SystemExit")
    lorafold.save(lorafold.merge([folder], rank=2).adapter, tmp_path / "out")
    disguised = tmp_path / "b.safetensors"
    disguised.write_bytes(trap)
    assert "a pickle, whatever its name says" in str(refusal(disguised))
    (folder / "adapter_model.safetensors").unlink()
    assert "pickle" in str(refusal(folder))
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()  # so it would have been noticed


def test_an_output_that_is_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    precious, dangling = tmp_path / "precious", tmp_path / "nothing"
    precious.write_text("mine")
    merged = lorafold.merge([kohya_file(tmp_path / "a.safetensors", kohya_pair())], rank=2).adapter
    for aim in (precious, dangling):
        link = tmp_path / "out.safetensors"
        link.unlink(missing_ok=True)
        link.symlink_to(aim)
        lorafold.save(merged, link)
        assert link.is_file() and not link.is_symlink()
    assert precious.read_text() == "mine" and not dangling.exists()


LIMITED = """
import resource, sys, torch
import lorafold
from lorafold.common.errors import LorafoldError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
for path in sys.argv[1:]:
    try:
        lorafold.merge([path, path], rank=2)
    except LorafoldError as error:
        print("refused", error)
"""


def test_half_a_gigabyte_is_enough_for_all_of_them(tmp_path: Path) -> None:
    """Small files that claim to be large, in a process that cannot have more memory."""
    claims = {
        "rank": Raw(raw({UP: normal(1, 9000), DOWN: normal(9000, 1)}.items()).entries).pack(),
        "shape": entries(shape=[2**40, 2**20]),
        "header": packed(SMALL, bytes(4), 2**62),
        "kronecker": raw({"a.lokr_w1": normal(30000, 1), "a.lokr_w2": normal(1, 30000)}.items()).pack(),
        "hadamard": raw({f"a.hada_w{i}_{ab}": normal(*(20000, 1) if ab == "a" else (1, 20000))
                         for i in (1, 2) for ab in "ab"}.items()).pack(),
        "tucker": raw({UP: normal(2, 1), DOWN: normal(1, 20000, 1, 1),
                       "lora_unet_a.lora_mid.weight": normal(1, 1, 150, 150)}.items()).pack(),
        "parts": raw({f"a.lora_{way}.{i}.weight": normal(*(2000, 100) if way == "up" else (100, 2))
                      for i in range(60) for way in ("up", "down")}.items()).pack(),
    }  # fmt: skip
    paths = []
    for name, content in claims.items():
        paths.append(tmp_path / f"{name}.safetensors")
        paths[-1].write_bytes(content)
    done = command_lines.python("-c", LIMITED, *map(str, paths))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["refused"] * len(paths), done.stdout
    for line, path in zip(lines, paths, strict=True):
        assert f"{path}: " in line


def test_the_command_ends_with_status_1_and_one_line(tmp_path: Path) -> None:
    path = file(tmp_path, KEYS["a name that writes to the terminal"][0])
    done = command_lines.lorafold("merge", f"adapters=[{path}]", "threads=1", cwd=tmp_path)
    assert done.returncode == 1
    assert "\x1b[2J" not in done.stdout + done.stderr and str(path) in done.stdout + done.stderr
    assert not list(tmp_path.rglob("merged*"))


def test_a_sound_file_is_merged(tmp_path: Path) -> None:
    """What the rows above damage is fine before."""
    assert lorafold.merge([file(tmp_path, entries())], rank=2).adapter.modules.keys() == {"lora_unet_a"}
    assert lorafold.merge([seed("peft").write(tmp_path)], rank=2)
