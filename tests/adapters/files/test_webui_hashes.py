"""Hashes against sd-scripts' recipe, by way of safetensors' own writer, and against the bytes on the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters import save as save_adapter
from lorafold.adapters.files.tensor_file import serialised, write_tensors
from lorafold.adapters.files.webui_hashes import with_hashes, write_with_hashes
from tests.adapters.samples import normal

TRAINED = {"ss_network_dim": "4", "ss_tag_frequency": '{"1_a": {"ß\\n\\"x": 3}}'}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool)


def sd_scripts_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[str, str]:
    """What `precalculate_safetensors_hashes` says: of the file with the entries ss_* alone."""
    content = save(dict(tensors), {key: value for key, value in metadata.items() if key.startswith("ss_")})
    start = 8 + int.from_bytes(content[:8], "little")
    return hashlib.sha256(content[start:]).hexdigest(), hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]


def mixed(size: int = 3) -> dict[str, Tensor]:
    """Tensors of all dtypes in the worst order."""
    return {f"{9 - i}.{dtype}": normal(size, 2, seed=i).to(dtype) for i, dtype in enumerate(DTYPES)}


@pytest.mark.parametrize("size", [3, 60_000], ids=["below the older hash's bytes", "beyond them"])
def test_they_are_those_of_sd_scripts(size: int) -> None:
    tensors = mixed(size)
    found = with_hashes(tensors, {**TRAINED, "modelspec.title": "not hashed"})
    assert (found["sshs_model_hash"], found["sshs_legacy_hash"]) == sd_scripts_hashes(tensors, TRAINED)


@pytest.mark.parametrize("cut", [-1, 0, 1, 4096])
def test_the_older_hash_at_the_edges_of_its_bytes(cut: int) -> None:
    """One tensor that begins or ends where the hashed bytes do."""
    header = sum(map(len, list(serialised({"a": torch.zeros(0x100000, dtype=torch.uint8)}, TRAINED))[:2]))
    first = torch.arange(0x100000 - header + cut).to(torch.uint8)
    tensors = {"a": first, "b": torch.arange(0x10000 - cut).to(torch.uint8), "c": torch.ones(5, dtype=torch.uint8)}
    assert with_hashes(tensors, TRAINED)["sshs_legacy_hash"] == sd_scripts_hashes(tensors, TRAINED)[1]


def test_the_bytes_are_those_of_safetensors_but_for_the_order_of_the_metadata() -> None:
    assert b"".join(serialised(mixed(), {"a": "ß\n"})) == save(mixed(), {"a": "ß\n"})


@pytest.mark.parametrize(("form", "prefix"), [("kohya", ""), ("diffusers", "unet."), ("comfyui", "diffusion_model.")])
def test_a_saved_file_is_what_its_hashes_say(form: str, prefix: str, tmp_path: Path) -> None:
    names = (f"{prefix}b", f"{prefix}a")
    modules = {name: Module(name, normal(9, 2).half(), normal(2, 7).half(), 0.5) for name in names}
    stale = {**TRAINED, "sshs_model_hash": "0" * 64, "note": "kept"}
    path = save_adapter(Adapter(form, modules, metadata=stale), tmp_path / "a.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    content = path.read_bytes()
    body = content[8 + int.from_bytes(content[:8], "little") :]
    assert metadata["sshs_model_hash"] == hashlib.sha256(body).hexdigest()
    assert (metadata["sshs_model_hash"], metadata["sshs_legacy_hash"]) == sd_scripts_hashes(load_file(path), metadata)
    assert metadata["note"] == "kept"


def test_without_training_metadata_there_is_nothing_to_look_up() -> None:
    assert with_hashes(mixed(), {"modelspec.title": "x"}) == {"modelspec.title": "x"}
    assert json.loads(with_hashes(mixed(), TRAINED)["ss_tag_frequency"]) == {"1_a": {'ß\n"x': 3}}


@pytest.mark.parametrize("metadata", [TRAINED, {**TRAINED, "sshs_model_hash": "stale"}, {"modelspec.title": "x"}, {}])
def test_hashes_taken_while_the_file_is_written_are_the_same(tmp_path, metadata):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    write_with_hashes(one, mixed(), metadata)
    write_tensors(other, mixed(), with_hashes(mixed(), metadata))
    assert one.read_bytes() == other.read_bytes()
