"""Layers of a base model found by the names that adapters give them, in every layout of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lorafold.adapters import Module
from lorafold.adapters.parametrisations.base_weights import open_base
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import normal

WEIGHT = normal(6, 5)
OTHER = normal(6, 5, seed=1)


def write(folder: Path, files: dict[str, dict[str, Tensor]]) -> Path:
    for name, tensors in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / name)
    return folder


def layer(name: str, m: int = 6, n: int = 5) -> Module:
    return Module(name, torch.zeros(m, 1), torch.zeros(1, n), 1.0)


FOUND = {  # what: name in the adapter, files of the base; the layer is the one with WEIGHT
    "path of its own": (
        "model.layers.0.q",
        {"a.safetensors": {"model.layers.0.q.weight": WEIGHT, "model.layers.10.q.weight": OTHER}},
    ),
    "wrapped in the adapter": ("bert.encoder.layer.0.q", {"a.safetensors": {"encoder.layer.0.q.weight": WEIGHT}}),
    "wrapped in the base": ("encoder.layer.0.q", {"a.safetensors": {"bert.encoder.layer.0.q.weight": WEIGHT}}),
    "kohya, single file": (
        "lora_unet_input_blocks_4_1_q",
        {
            "a.safetensors": {
                "model.diffusion_model.input_blocks.4.1.q.weight": WEIGHT,
                "model.input_blocks.14.1.q.weight": OTHER,
            }
        },
    ),
    "kohya, dots left": (
        "lora_unet_blocks_12.attn.k",
        {"a.safetensors": {"diffusion_model.blocks.12.attn.k.weight": WEIGHT}},
    ),
    "underscores in the base": (
        "lora_unet_time_embedding_linear_1",
        {"a.safetensors": {"time_embedding.linear_1.weight": WEIGHT}},
    ),
    "diffusers' U-Net": (
        "lora_unet_down_blocks_0_q",
        {
            "unet/diffusion_pytorch_model.safetensors": {"down_blocks.0.q.weight": WEIGHT},
            "controlnet/m.safetensors": {"down_blocks.0.q.weight": OTHER},
        },
    ),
    "diffusers' transformer": ("lora_unet_blocks_0_q", {"transformer/m.safetensors": {"blocks.0.q.weight": WEIGHT}}),
    "first text encoder": (
        "lora_te1_text_model_q",
        {
            "text_encoder/m.safetensors": {"text_model.q.weight": WEIGHT},
            "text_encoder_2/m.safetensors": {"text_model.q.weight": OTHER},
        },
    ),
    "second text encoder": (
        "lora_te2_text_model_q",
        {
            "text_encoder/m.safetensors": {"text_model.q.weight": OTHER},
            "text_encoder_2/m.safetensors": {"text_model.q.weight": WEIGHT},
        },
    ),
    "Flux' T5": ("lora_te3_encoder_q", {"text_encoder_2/m.safetensors": {"encoder.q.weight": WEIGHT}}),
    "component in the name": (
        "text_encoder.q.proj",
        {"text_encoder/m.safetensors": {"q.proj.weight": WEIGHT}, "unet/m.safetensors": {"q.proj.weight": OTHER}},
    ),
    "variant beside": (
        "lora_unet_q",
        {"unet/m.safetensors": {"q.weight": WEIGHT}, "unet/m.fp16.safetensors": {"q.weight": OTHER}},
    ),
    "diffusers' name, original checkpoint": (
        "lora_unet_down_blocks_1_attentions_0_proj_in",
        {"a.safetensors": {"model.diffusion_model.input_blocks.4.1.proj_in.weight": WEIGHT, "x.proj_in.weight": OTHER}},
    ),
    "original name, diffusers' folder": (
        "lora_unet_input_blocks_4_1_proj_in",
        {"unet/m.safetensors": {"down_blocks.1.attentions.0.proj_in.weight": WEIGHT, "proj_in.weight": OTHER}},
    ),
    "the shape decides": (
        "blocks.0.q",
        {"a.safetensors": {"x.blocks.0.q.weight": WEIGHT, "y.blocks.0.q.weight": normal(7, 5)}},
    ),
}


@pytest.mark.parametrize(("name", "files"), FOUND.values(), ids=FOUND)
def test_the_layer_is_found(tmp_path: Path, name: str, files: dict) -> None:
    assert torch.equal(open_base(write(tmp_path, files)).matrix(layer(name), False), WEIGHT)


def test_one_file_is_a_base_too(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.safetensors": {"x.q.weight": WEIGHT}}) / "a.safetensors"
    assert torch.equal(open_base(str(path)).matrix(layer("x.q"), False), WEIGHT)


def test_shards_are_those_of_the_index(tmp_path: Path) -> None:
    shards = {"m-1.safetensors": {"x.a.weight": WEIGHT}, "m-2.safetensors": {"x.b.weight": OTHER}}
    write(tmp_path, shards | {"consolidated.safetensors": {"z.x.a.weight": OTHER}})
    index = {"weight_map": {"x.a.weight": "m-1.safetensors", "x.b.weight": "m-2.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    base = open_base(tmp_path)
    assert torch.equal(base.matrix(layer("x.a"), False), WEIGHT) and torch.equal(
        base.matrix(layer("x.b"), False), OTHER
    )


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_indexes_the_first_by_name_counts(tmp_path: Path, monkeypatch, order: int) -> None:
    """In whatever order the disk lists them."""
    write(tmp_path, {"m-1.safetensors": {"x.a.weight": WEIGHT}, "m-2.safetensors": {"x.a.weight": OTHER}})
    for name, shard in (("a", "m-1.safetensors"), ("b", "m-2.safetensors")):
        (tmp_path / f"{name}.safetensors.index.json").write_text(json.dumps({"weight_map": {"x.a.weight": shard}}))
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: sorted(glob(folder, pattern))[::order])
    assert torch.equal(open_base(tmp_path).matrix(layer("x.a"), False), WEIGHT)


def test_kernels_are_flattened_and_stored_transposes_turned(tmp_path: Path) -> None:
    kernel = normal(4, 3, 2, 2)
    base = open_base(write(tmp_path, {"a.safetensors": {"x.c.weight": kernel, "x.t.weight": WEIGHT}}))
    assert torch.equal(base.matrix(layer("x.c", 4, 12), False), kernel.flatten(1))
    assert torch.equal(base.matrix(layer("x.t", 5, 6), True), WEIGHT.T)


REFUSED = {
    "no such layer": ("x.nothing", {"x.q.weight": WEIGHT}, "no layer x.nothing"),
    "another model": ("a.b.q", {"c.b.q.weight": WEIGHT}, "no layer a.b.q"),
    "another shape": ("x.q", {"x.q.weight": normal(7, 5)}, "x.q (7, 5): other shapes than the shape (6, 5)"),
    "two of them": ("b.q", {"x.b.q.weight": WEIGHT, "y.b.q.weight": WEIGHT.clone()}, "layers of the shape (6, 5)"),
    "quantised": ("x.q", {"x.q.weight": WEIGHT.to(torch.float8_e4m3fn)}, "float8_e4m3fn"),
}


@pytest.mark.parametrize(("name", "tensors", "problem"), REFUSED.values(), ids=REFUSED)
def test_no_guess_is_made(tmp_path: Path, name: str, tensors: dict, problem: str) -> None:
    base = open_base(write(tmp_path, {"a.safetensors": tensors}))
    with pytest.raises(LorafoldError) as caught:
        base.matrix(layer(name), False)
    assert problem in str(caught.value) and caught.value.remedy and caught.value.path


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        pytest.param({}, "no weights as safetensors", id="empty folder"),
        pytest.param({"model.safetensors.index.json": b"{}"}, "not an index of shards", id="index without shards"),
        pytest.param({"a.safetensors": b"hello, this is no file"}, "not a readable", id="garbage"),
    ],
)
def test_what_is_no_base_is_refused(tmp_path: Path, files: dict[str, bytes], problem: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LorafoldError, match=problem):
        open_base(tmp_path)


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LorafoldError, match="no such file or folder"):
        open_base(tmp_path / "none")
