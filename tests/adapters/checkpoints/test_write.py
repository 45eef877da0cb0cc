"""A copy of a model keeps every byte that it was not told to change."""

from __future__ import annotations

import json

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lorafold.adapters.checkpoints.checkpoint import open_checkpoint
from lorafold.adapters.checkpoints.write import write_changed
from tests.adapters.checkpoints.models import llama, model_file, model_folder

KEY = "model.layers.1.self_attn.q_proj.weight"


def given(*tensors):
    """What makes these of the tensors that change, whatever they are."""
    return lambda names: (tensor for _, tensor in zip(names, tensors, strict=True))


def test_several_come_in_the_order_in_which_they_are_written(tmp_path):
    checkpoint = open_checkpoint(model_folder(tmp_path / "base", llama()))
    names, asked = [*reversed(checkpoint.tensors)][:5], []

    def negated(ordered):
        for name in ordered:
            asked.append(name)
            yield -checkpoint.tensors[name].read()

    write_changed(checkpoint, {*names}, negated, tmp_path / "copy")
    assert sorted(asked) == sorted(names)
    for name, stored in open_checkpoint(tmp_path / "copy").tensors.items():
        assert torch.equal(stored.read(), (-1 if name in names else 1) * checkpoint.tensors[name].read())


def test_a_folder(tmp_path):
    folder = model_folder(tmp_path / "base", llama())
    (folder / "sub").mkdir()
    (folder / "sub" / "tokenizer.json").write_text("{}")
    checkpoint = open_checkpoint(folder)
    new = torch.full(checkpoint.tensors[KEY].shape, 7.0)
    write_changed(checkpoint, {KEY}, given(new), tmp_path / "copy")
    for file in (path for path in folder.rglob("*") if path.is_file()):
        copy = tmp_path / "copy" / file.relative_to(folder)
        if file != checkpoint.tensors[KEY].file:
            assert copy.read_bytes() == file.read_bytes()
            continue
        before, after = load_file(file), load_file(copy)
        assert list(before) == list(after) and torch.equal(after.pop(KEY), new)
        assert all(torch.equal(before[key], tensor) for key, tensor in after.items())


def test_an_unchanged_copy_is_the_same_file(tmp_path):
    file = model_file(tmp_path / "m.safetensors", llama(torch.float16), {"format": "pt", "b": "é", "a": "2"})
    checkpoint = open_checkpoint(file)
    write_changed(checkpoint, {KEY}, given(checkpoint.tensors[KEY].read()), tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == file.read_bytes()


def test_hashes_of_the_old_tensors_go(tmp_path):
    metadata = {"format": "pt", "modelspec.hash_sha256": "0x12", "sshs_model_hash": "34", "modelspec.title": "é"}
    checkpoint = open_checkpoint(model_file(tmp_path / "m.safetensors", llama(), metadata))
    zero = torch.zeros(checkpoint.tensors[KEY].shape)
    write_changed(checkpoint, {KEY}, given(zero), tmp_path / "copy.safetensors")
    with safe_open(tmp_path / "copy.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "modelspec.title": "é"}
        assert file.get_tensor(KEY).abs().max() == 0
    assert json.dumps(metadata)  # the input's is another file
