"""A merged kohya file as other tools see it: its header, by safetensors alone, and its hashes by sd-scripts' recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise

from lorafold.adapters import save
from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.run import Run
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter

SHAPES = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k": (7, 2048),
    "lora_unet_middle_block_1_proj_in": (12, 9),
}


@pytest.fixture
def header(tmp_path):
    """The metadata of a merge of two files, and the file."""
    for rank, name in enumerate("ab", 2):
        tags = {"ss_tag_frequency": json.dumps({f"1_{name}": {name: rank}}), "ss_output_name": name.upper()}
        adapter = replace(random_adapter("kohya", SHAPES, rank, seed=rank), metadata=tags)
        save(adapter, tmp_path / f"{name}.safetensors")
    settings = MergeSettings(rank=3, solver="alternating")
    job = MergeConfig(
        **vars(settings), adapters=["a.safetensors", "b.safetensors"], output="merged.safetensors", page=False
    )
    merge(Run(tmp_path, tmp_path, alone=False), job)
    with safe_open(tmp_path / "merged.safetensors", framework="pt") as file:
        return file.metadata(), tmp_path / "merged.safetensors"


def test_the_hashes_are_those_that_sd_scripts_computes(header):
    metadata, path = header
    training = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    content = serialise(load_file(path), training)
    body = content[8 + int.from_bytes(content[:8], "little") :]
    assert metadata["sshs_model_hash"] == hashlib.sha256(body).hexdigest()
    assert metadata["sshs_legacy_hash"] == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]


def test_the_header_says_what_the_file_is(header):
    metadata, _ = header
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    assert metadata["ss_network_dim"] == metadata["ss_network_alpha"] == "3"
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert (metadata["modelspec.title"], metadata["modelspec.merged_from"]) == ("A + B", "A, B")
    assert json.loads(metadata["ss_tag_frequency"]) == {"1_a": {"a": 2}, "1_b": {"b": 3}}


def test_the_header_says_how_it_was_made(header):
    metadata, path = header
    signature = json.loads(metadata["lorafold"])
    assert signature["command"] == "merge"
    assert (signature["method"]["rank"], signature["method"]["core"]) == (3, "sum")
    assert [entry["sha256"] for entry in signature["inputs"]] == [
        fingerprint(path.with_name(f"{name}.safetensors")) for name in "ab"
    ]
    assert str(path.parent) not in metadata["lorafold"]
