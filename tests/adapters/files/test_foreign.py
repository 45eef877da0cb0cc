"""Files that people take for an adapter: each is refused in one line, with what it is and what to do."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lorafold.adapters import load
from lorafold.common.errors import LorafoldError
from lorafold.runs.inputs import adapter_paths
from tests.adapters.samples import peft_folder, peft_pair


def holding(path: Path, *keys: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: torch.zeros(2, 2) for key in keys}, path)
    return path


def refusal(path: str | Path) -> str:
    with pytest.raises(LorafoldError) as caught:
        load(path)
    assert "\n" not in str(caught.value) and caught.value.remedy
    return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (("first_stage_model.encoder.conv_in.weight", "model.diffusion_model.out.2.weight"), "a whole checkpoint"),
        (("img_in.weight", "double_blocks.0.img_attn.qkv.weight"), "a whole model"),
        (("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"), "a whole model"),
        (("text_model.encoder.layers.0.mlp.fc1.bias",), "a whole model"),
        (("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"), "a whole U-Net"),
        (("decoder.up_blocks.0.resnets.0.conv1.weight",), "a VAE"),
        (("emb_params",), "a textual-inversion embedding"),
        (("clip_g", "clip_l"), "a textual-inversion embedding"),
        (("*",), "a textual-inversion embedding"),
        (("control_model.input_blocks.0.0.weight",), "a ControlNet"),
        (("controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"), "a ControlNet"),
        (("image_proj.norm.weight", "ip_adapter.1.to_k_ip.weight"), "an IP-Adapter"),
    ],
)
def test_told_by_its_tensors(tmp_path, keys, what):
    assert f"this is {what}" in refusal(holding(tmp_path / "a.safetensors", *keys))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!doctype HTML>\n<html>", "a web page"),
        (b'{"error": "Entry not found"}', "text (JSON)"),
        (b"\x80\x02}q\x00.", "a pickle"),
        (b"PK\x03\x04" + bytes(50), "a zip archive"),
    ],
)
@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf"])
def test_told_by_its_first_bytes(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content)
    assert what in refusal(tmp_path / name)


def test_archives_are_told_by_their_list_alone(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "saved.safetensors")
    assert "a pickle, whatever its name says" in refusal(tmp_path / "saved.safetensors")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("lora.safetensors", "x")
    assert "Unpack it" in refusal(tmp_path / "a.zip")


def folder(tmp_path: Path, *files: str) -> Path:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "the folder is empty"),
        (("model_index.json", "unet/a.safetensors", "vae/a.safetensors"), "a diffusers pipeline"),
        (("m-1-of-2.safetensors", "m-2-of-2.safetensors", "m.safetensors.index.json"), "a model in shards"),
        (("checkpoint-1/adapter_model.safetensors", "checkpoint-2/adapter_model.safetensors"), "checkpoint-1, checkpo"),
        (("metrics.json", "merged/adapter_model.safetensors"), "Name it: merged"),
        (("refs/main", "snapshots/abc/style.safetensors"), "abc"),
        (("optimizer.pt", "scheduler.pt"), "the state of a training"),
        (("adapter_model.bin", "optimizer.pt"), "adapter_model.bin: a pickle"),
    ],
)
def test_told_by_what_is_in_the_folder(tmp_path, files, words):
    assert words in refusal(folder(tmp_path, *files)).replace("\\", "/")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("adapter_config.json", "Give its folder"),
        ("model.safetensors.index.json", "a model in shards"),
        ("optimizer.bin", "the state of a training"),
    ],
)
def test_told_by_its_name(tmp_path, file, words):
    assert words in refusal(folder(tmp_path, file) / file)


def test_an_adapter_beside_the_state_of_its_training_is_read(tmp_path):
    peft_folder(tmp_path, peft_pair())
    folder(tmp_path, "optimizer.pt", "model_index.json", "checkpoint-1/adapter_model.safetensors")
    assert list(load(tmp_path).modules) == ["block.q_proj"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("user/repo.v1", "hf download user/repo.v1 --local-dir repo.v1; then name repo.v1."),
        ("hf:user/repo", "hf download user/repo --local-dir repo;"),
        ("https://huggingface.co/user/repo", "hf download user/repo --local-dir repo;"),
        (
            "https://hf.co/user/repo/blob/v2/a.safetensors",
            "hf download user/repo a.safetensors --revision v2 --local-dir",
        ),
        (
            "https://huggingface.co/user/repo/resolve/main/x/a.safetensors?download=true",
            "hf download user/repo x/a.safetensors --local-dir repo; then name repo/x/a.safetensors.",
        ),
        ("https://civitai.com/api/download/models/1", "Download it"),
    ],
)
def test_nothing_is_downloaded(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # not installed
    assert words in refusal(name)
    with pytest.raises(LorafoldError) as caught:  # as the command reads it
        adapter_paths([name], tmp_path)
    assert str(caught.value).startswith(f"{name}: ") and words in str(caught.value)


@pytest.mark.parametrize("name", ["a.safetensors", "runs/a.safetensors", "a/b/c"])
def test_a_file_that_is_not_there_is_no_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert "Check the path" in refusal(name)
    assert adapter_paths([name], tmp_path) == [tmp_path / name]
