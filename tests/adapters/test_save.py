"""Writing: whole or not at all, never over an input, nothing lost."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from lorafold.adapters import Adapter, Module, load, save
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import kohya_file, kohya_pair, normal, peft_folder, peft_pair


def sample(form: str, **changes: object) -> Adapter:
    fields = {"name": "a", "up": normal(4, 2), "down": normal(2, 3), "scale": 1.0} | changes
    return Adapter(form, {"a": Module(**fields)}, metadata={key: "v" for key in "qwertyuiop"})


TARGETS = [("kohya", "out.safetensors"), ("peft", "out")]


@pytest.mark.parametrize(("form", "name"), TARGETS)
@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_replacement_leaves_what_was_there(tmp_path, monkeypatch, form, name, existing):
    target = tmp_path / name
    if existing:
        save(sample(form, scale=0.5), target)
    real = os.replace

    def fail(source, destination):
        if Path(source).name == "new":
            raise OSError("disk gone")
        real(source, destination)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LorafoldError, match=r"out.*disk gone.*Check free space"):
        save(sample(form), target)
    assert [path.name for path in tmp_path.iterdir()] == [name] * existing
    assert not existing or load(target).modules["a"].scale == 0.5


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(sample("peft"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("form", "name"), TARGETS)
def test_a_later_result_replaces_an_earlier_one(tmp_path: Path, form: str, name: str) -> None:
    for scale in (0.5, 2.0):
        assert load(save(sample(form, scale=scale), tmp_path / "new" / name)).modules["a"].scale == scale
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize(("form", "name"), TARGETS)
def test_bytes_and_permissions_are_reproducible(tmp_path: Path, form: str, name: str) -> None:
    first = sample(form)
    again = replace(first, metadata=dict(reversed(first.metadata.items())))
    written = [save(adapter, tmp_path / run / name) for run, adapter in (("1", first), ("2", again))]
    files = [path if form == "kohya" else path / "adapter_model.safetensors" for path in written]
    assert files[0].read_bytes() == files[1].read_bytes()
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(files[0].stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_safetensors_reads_what_is_written(tmp_path: Path) -> None:
    dtypes = [torch.bfloat16, torch.float16, torch.float32, torch.float64]  # 3 x 1: misaligned if in this order
    modules = {
        str(dtype): Module(str(dtype), normal(3, 1, dtype=dtype), normal(5, 1, dtype=dtype).T, 1.0) for dtype in dtypes
    }
    path = save(Adapter("kohya", modules, metadata={"k": "v"}), tmp_path / "a.safetensors")
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"k": "v"}
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    for name, module in modules.items():
        assert torch.equal(tensors[f"{name}.lora_up.weight"], module.up)
        assert torch.equal(tensors[f"{name}.lora_down.weight"], module.down)
        assert tensors[f"{name}.lora_up.weight"].data_ptr() % module.up.element_size() == 0


def test_factors_may_share_memory_or_be_strided(tmp_path: Path) -> None:
    zero, wide = torch.zeros(3, 2), normal(3, 8)
    modules = {
        "a": Module("a", zero, wide[:2, ::2], 1.0),
        "b": Module("b", zero, torch.zeros(1).expand(2, 4), 1.0),
    }
    after = load(save(Adapter("peft", modules), tmp_path / "a")).modules
    assert torch.equal(after["a"].down, wide[:2, ::2]) and torch.equal(after["b"].down, torch.zeros(2, 4))


def inputs(tmp_path: Path) -> tuple[Path, Path]:
    """A kohya file and a PEFT folder."""
    return kohya_file(tmp_path / "in.safetensors", kohya_pair()), peft_folder(tmp_path / "in", peft_pair())


@pytest.mark.parametrize(
    ("form", "aim", "forbidden"),
    [
        pytest.param("kohya", "in.safetensors", "in.safetensors", id="the same file"),
        pytest.param("kohya", "in/../in.safetensors", "in.safetensors", id="by another path"),
        pytest.param("kohya", "symlink.safetensors", "in.safetensors", id="output is a symbolic link to it"),
        pytest.param("kohya", "hardlink.safetensors", "in.safetensors", id="output is a hard link to it"),
        pytest.param("kohya", "in.safetensors", "symlink.safetensors", id="input is a symbolic link to it"),
        pytest.param("kohya", "in/adapter_model.safetensors", "in", id="a file of the input folder"),
        pytest.param("peft", "in", "in", id="the same folder"),
        pytest.param("peft", "folder-link", "in", id="a link to the folder"),
        pytest.param("peft", "in", "in/adapter_model.safetensors", id="the folder around the input file"),
    ],
)
def test_an_input_is_never_overwritten(tmp_path: Path, form: str, aim: str, forbidden: str) -> None:
    file, folder = inputs(tmp_path)
    (tmp_path / "symlink.safetensors").symlink_to(file)
    (tmp_path / "hardlink.safetensors").hardlink_to(file)
    (tmp_path / "folder-link").symlink_to(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(LorafoldError, match=r"must not be overwritten.*another output path"):
        save(sample(form), tmp_path / aim, forbid=[tmp_path / forbidden])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_output_beside_an_input_is_fine(tmp_path: Path) -> None:
    file, folder = inputs(tmp_path)
    kohya = save(sample("kohya"), tmp_path / "out.safetensors", forbid=[file, folder, tmp_path / "gone"])
    peft = save(sample("peft"), tmp_path / "out", forbid=[file, folder])
    assert kohya.is_file() and (peft / "adapter_model.safetensors").is_file()


BIASED = Module("b", normal(4, 2), normal(2, 3), 1.0, bias=normal(4))
NOTHING = {"up": torch.zeros(4, 0), "down": torch.zeros(0, 3)}
HUGE = (1e6 * normal(4, 2)).half()


@pytest.mark.parametrize(
    ("adapter", "name", "problem", "remedy"),
    [
        pytest.param(sample("kohya"), "out", "not a file name", "safetensors", id="kohya to a bare name"),
        pytest.param(sample("kohya"), "dir.safetensors", "not a file name", "safetensors", id="kohya onto a folder"),
        pytest.param(sample("peft"), "out.safetensors", "not a folder name", "folder", id="peft to a file name"),
        pytest.param(sample("peft"), "file", "not a folder name", "folder", id="peft onto a file"),
        pytest.param(sample("peft"), "busy", "also holds thesis.txt", "another", id="peft onto other work"),
        pytest.param(Adapter("kohya", {}), "out.safetensors", "without modules", "inputs", id="no modules"),
        pytest.param(sample("peft", **NOTHING), "out", "a: scale 1.0, shape (4, 3), rank 0", "rank 1", id="rank 0"),
        pytest.param(sample("peft", scale=float("nan")), "out", "a: scale nan", "rank 1", id="scale NaN"),
        pytest.param(
            sample("peft", up=HUGE), "out", "a.lora_B.weight: holds NaN or Inf", "float32", id="Inf by a cast"
        ),
        pytest.param(sample("kohya", scale=1e99), "out.safetensors", "a.alpha: holds", "float32", id="alpha overflows"),
        pytest.param(sample("kohya", bias=normal(4)), "out.safetensors", "a: a kohya file", "PEFT", id="kohya: bias"),
        pytest.param(sample("kohya", kind="embedding"), "out.safetensors", "a: a kohya", "PEFT", id="kohya: embedding"),
        pytest.param(
            replace(sample("kohya"), extras={"h": HUGE}), "out.safetensors", "h: a kohya", "PEFT", id="kohya: extras"
        ),
        pytest.param(replace(sample("peft"), deltas={"d": HUGE}), "out", "d: a PEFT", "kohya", id="peft: deltas"),
        pytest.param(
            replace(sample("peft"), config={"modules_to_save": ["a"]}), "out", "a: adapted", "Leave", id="peft: saved"
        ),
        pytest.param(
            Adapter("peft", {"b": BIASED} | dict(sample("peft", kind="embedding").modules)),
            "out",
            "a: an embedding",
            "Leave",
            id="peft: bias and embedding",
        ),
    ],
)
def test_refusal(tmp_path, adapter, name, problem, remedy):
    (tmp_path / "dir.safetensors").mkdir()
    (tmp_path / "file").touch()
    peft_folder(tmp_path / "busy", peft_pair())
    (tmp_path / "busy" / "thesis.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LorafoldError) as caught:
        save(adapter, tmp_path / name)
    assert problem in str(caught.value) and remedy in caught.value.remedy
    assert sorted(tmp_path.rglob("*")) == before


def test_what_the_disk_refuses_is_an_error_for_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LorafoldError, match=r"cannot be written.*Check free space and permissions"):
        save(sample("kohya"), tmp_path / "file" / "out.safetensors")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unet.mid_block.attentions.0.proj_in", True),
        ("transformer_2.blocks.0.attn1.to_q", True),
        ("transformer.transformer_blocks.0.attn.to_q", False),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1", False),
    ],
)
def test_a_file_that_comfyui_reads_in_part_says_so(tmp_path: Path, caplog, name: str, said: bool) -> None:
    path = tmp_path / "a.safetensors"
    save(Adapter("diffusers", {name: Module(name, torch.ones(2, 1), torch.ones(1, 2), 1.0)}), path)
    line = f"lorafold convert 'adapters=[{path}]' format=kohya output={tmp_path / 'a_kohya.safetensors'}"
    assert [line in message for message in caplog.messages] == ([True] if said else [])
