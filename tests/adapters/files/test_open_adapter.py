"""Adapters in shards are one adapter, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from lorafold.adapters import load
from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.inspect.pipeline import inspect
from tests.adapters.language import same_updates
from tests.adapters.samples import peft_folder, peft_pair

NAMES = tuple(f"adapter_model-0000{i}-of-00002.safetensors" for i in (1, 2))
PAIRS = [peft_pair("a.q_proj"), peft_pair("b.q_proj")]


def shards(folder: Path) -> Path:
    """As the hub's helper saves them, with an index."""
    peft_folder(folder, PAIRS[0] | PAIRS[1])
    (folder / "adapter_model.safetensors").unlink()
    for name, tensors in zip(NAMES, PAIRS, strict=True):
        save_file(tensors, folder / name, {"format": "pt"})
    index = {key: name for name, tensors in zip(NAMES, PAIRS, strict=True) for key in tensors}
    (folder / "adapter_model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def test_they_are_read_as_one(tmp_path: Path) -> None:
    folder, whole = shards(tmp_path / "a"), peft_folder(tmp_path / "b", PAIRS[0] | PAIRS[1])
    for path in (folder, folder / NAMES[1]):
        same_updates(load(path), load(whole), 0)
    assert len(inspect(folder).metrics()["modules"]) == 2


def test_every_shard_counts_for_the_fingerprint(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a")
    before = fingerprint(folder)
    save_file(peft_pair("b.q_proj", m=7), folder / NAMES[1], {"format": "pt"})
    assert fingerprint(folder) != before


def test_a_missing_shard_is_said(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a")
    (folder / NAMES[0]).unlink()
    with pytest.raises(LorafoldError, match="1 of 2 shards are there"):
        load(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a")
    save_file(PAIRS[0], folder / NAMES[1])
    with pytest.raises(LorafoldError, match=rf"{NAMES[1]}: .*lora_A.weight: in two shards"):
        load(folder)


def test_the_index_is_not_what_to_name(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a")
    with pytest.raises(LorafoldError, match=f"Give its folder: {folder}"):
        load(folder / "adapter_model.safetensors.index.json")
