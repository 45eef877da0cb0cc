"""Which files are a model, how its tensors are read, and what is refused before anything is allocated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lorafold.adapters.checkpoints.checkpoint import open_checkpoint
from lorafold.common.errors import LorafoldError
from tests.adapters.checkpoints.models import llama, model_file, model_folder
from tests.adapters.samples import kohya_file, kohya_pair, peft_folder, peft_pair


def test_every_layout_holds_the_same_tensors(tmp_path):
    tensors = llama(torch.bfloat16)
    layouts = {
        "file": model_file(tmp_path / "m.safetensors", tensors),
        "folder": model_folder(tmp_path / "one", tensors, shards=1),
        "shards": model_folder(tmp_path / "three", tensors, shards=3),
    }
    for path in layouts.values():
        checkpoint = open_checkpoint(path)
        assert checkpoint.tensors.keys() == tensors.keys()
        assert all(torch.equal(checkpoint.tensors[key].read(), tensors[key]) for key in tensors)


def test_rows_of_a_tensor(tmp_path):
    tensors = {"a": torch.arange(24.0).view(6, 2, 2), "b": torch.tensor(3.0), "c": torch.zeros(0, 4)}
    stored = open_checkpoint(model_file(tmp_path / "m.safetensors", tensors)).tensors
    assert torch.equal(stored["a"].read(2, 5), tensors["a"][2:5])
    assert stored["b"].read() == 3 and stored["c"].read().shape == (0, 4)


def test_a_pipelines_components(tmp_path):
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    model_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors", {"a.weight": torch.ones(2, 2)})
    model_file(tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors", {"a.weight": torch.ones(2, 2)})
    model_file(tmp_path / "text_encoder" / "model.safetensors", {"b.weight": torch.ones(2, 2)})
    model_file(tmp_path / "whole.safetensors", {"model.diffusion_model.a.weight": torch.ones(2, 2)})
    checkpoint = open_checkpoint(tmp_path)
    assert sorted(checkpoint.tensors) == ["text_encoder.b.weight", "unet.a.weight"]
    assert [file.name for file in checkpoint.files.foreign] == [
        "diffusion_pytorch_model.fp16.safetensors",
        "whole.safetensors",
    ]


def _index(folder: Path, change) -> None:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _shards(folder: Path) -> Path:
    return model_folder(folder, llama())


def _missing(folder: Path) -> Path:
    next(_shards(folder).glob("*1-of*")).unlink()
    return folder


def _another(folder: Path) -> Path:
    _shards(folder)
    _index(folder, lambda index: {"weight_map": {**index["weight_map"], "x": "model-00001-of-00002.safetensors"}})
    return folder


def _outside(folder: Path) -> Path:
    _shards(folder)
    _index(folder, lambda index: {"weight_map": {"x": "../../etc/passwd"}})
    return folder


def _truncated(folder: Path) -> Path:
    file = model_file(folder / "m.safetensors", llama())
    file.write_bytes(file.read_bytes()[:-8])
    return file


def _packed(folder: Path) -> Path:
    tensors = {"a.weight": torch.zeros(8, 1, dtype=torch.uint8), "a.weight.absmax": torch.ones(2)}
    return model_file(folder / "m.safetensors", tensors)


def _text(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def _pickled_folder(folder: Path) -> Path:
    return _text(folder, "pytorch_model.bin", b"\x80").parent


def _two(folder: Path) -> Path:
    for name in "ab":
        model_file(folder / f"{name}.safetensors", llama())
    return folder


REFUSED = {
    "nothing there": (lambda folder: folder / "nope", "no such file or folder"),
    "a name on the hub": (lambda folder: Path.cwd() / "org/model", "hf download org/model"),
    "a shard is missing": (_missing, "1 of 2 shards are missing: model-00001-of-00002.safetensors"),
    "index of another version": (_another, "x: not in model-00001-of-00002.safetensors, where the index has it"),
    "index that leads elsewhere": (_outside, "'../../etc/passwd', expected a file beside it"),
    "no index": (lambda folder: _text(_shards(folder), "model.safetensors.index.json", b"[]").parent, "not an index"),
    "cut off": (_truncated, "not a readable, complete safetensors file"),
    "a pickle": (lambda folder: _text(folder, "m.ckpt", b"\x80\x02"), "a pickle, expected safetensors"),
    "a pickle that is renamed": (lambda folder: _text(folder, "m.safetensors", b"\x80\x02}q"), "this is a pickle"),
    "pickles in a folder": (_pickled_folder, "pytorch_model.bin: a pickle"),
    "GGUF": (lambda folder: _text(folder, "m.gguf", b"GGUF" + bytes(60)), "a GGUF file, whose weights are quantised"),
    "an index in place of the folder": (lambda folder: _shards(folder) / "model.safetensors.index.json", "Give its"),
    "one shard in place of the folder": (
        lambda folder: _shards(folder) / "model-00001-of-00002.safetensors",
        "one shard of a model. Give its folder",
    ),
    "bitsandbytes": (_packed, r"a.weight.absmax: quantised weights: bitsandbytes \(4 bits\)"),
    "several models": (_two, "2 safetensors files and no index, expected one model. Name one of them: a.saf"),
    "a kohya adapter": (
        lambda folder: kohya_file(_text(folder, "x", b"").with_name("m.safetensors"), kohya_pair()),
        r"an adapter \(kohya\), expected a whole model",
    ),
    "a PEFT adapter": (lambda folder: peft_folder(folder, peft_pair()), r"an adapter \(peft\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_model_is_called_by_its_name(tmp_path, case):
    make, words = REFUSED[case]
    with pytest.raises(LorafoldError, match=words):
        open_checkpoint(make(tmp_path / "m"))


def test_two_shards_with_one_tensor(tmp_path):
    folder = _shards(tmp_path)
    first, second = sorted(folder.glob("*.safetensors"))
    save_file({"model.layers.0.mlp.down_proj.weight": torch.ones(1)}, first)
    save_file({"model.layers.0.mlp.down_proj.weight": torch.ones(1)}, second)
    with pytest.raises(LorafoldError, match="in two shards"):
        open_checkpoint(folder)


def test_a_file_that_shrinks_after_it_was_opened(tmp_path):
    file = model_file(tmp_path / "m.safetensors", llama())
    stored = max(open_checkpoint(file).tensors.values(), key=lambda stored: stored.start)
    file.write_bytes(file.read_bytes()[: stored.start + 4])
    with pytest.raises(LorafoldError, match="became shorter"):
        stored.read()
