"""The layers of a model are found by name, whichever code its tensors are laid out for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.adapters.checkpoints.checkpoint import open_checkpoint
from lorafold.adapters.checkpoints.layout import Layout, layout_of
from lorafold.adapters.naming import ARCHITECTURES, Place
from tests.adapters.checkpoints.models import model_file, model_folder
from tests.adapters.samples import normal
from tests.builders import one_thread as one_thread


def layout(path) -> Layout:
    return layout_of(open_checkpoint(path))


def flux_parts() -> dict[str, Tensor]:
    """Two blocks of Flux in diffusers' names, with biases."""
    inner = 6
    shapes = {
        **{f"transformer_blocks.0.attn.{part}": (inner, inner) for part in ("to_q", "to_k", "to_v", "to_out.0")},
        **{f"single_transformer_blocks.0.attn.{part}": (inner, inner) for part in ("to_q", "to_k", "to_v")},
        "single_transformer_blocks.0.proj_mlp": (4 * inner, inner),
        "norm_out.linear": (2 * inner, inner),
    }
    tensors = {f"{name}.weight": normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    return tensors | {f"{name}.bias": normal(shape[0], seed=i) for i, (name, shape) in enumerate(shapes.items())}


def flux_whole(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in the names and shapes of the original code."""
    whole = {}
    for leaf in ("weight", "bias"):
        stack = [parts[f"transformer_blocks.0.attn.to_{x}.{leaf}"] for x in "qkv"]
        single = [parts[f"single_transformer_blocks.0.attn.to_{x}.{leaf}"] for x in "qkv"]
        scale, shift = parts[f"norm_out.linear.{leaf}"].chunk(2)
        whole |= {
            f"double_blocks.0.img_attn.qkv.{leaf}": torch.cat(stack),
            f"double_blocks.0.img_attn.proj.{leaf}": parts[f"transformer_blocks.0.attn.to_out.0.{leaf}"],
            f"single_blocks.0.linear1.{leaf}": torch.cat(
                [*single, parts[f"single_transformer_blocks.0.proj_mlp.{leaf}"]]
            ),
            f"final_layer.adaLN_modulation.1.{leaf}": torch.cat([shift, scale]),
        }
    return whole


@pytest.mark.parametrize("front", ["", "model.diffusion_model."])
def test_flux_of_either_code_has_the_layers_of_both(tmp_path, front):
    parts = flux_parts()
    whole = {front + key: tensor for key, tensor in flux_whole(parts).items()}
    ours = layout(model_file(tmp_path / "parts.safetensors", parts))
    theirs = layout(model_file(tmp_path / "whole.safetensors", whole))
    assert (ours.naming.architecture, theirs.naming.architecture) == ("flux", "flux")
    entries = {entry.original: entry for entry in ARCHITECTURES["flux"]().components[0].entries}
    for original in ("double_blocks.0.img_attn.qkv", "single_blocks.0.linear1", "final_layer.adaLN_modulation.1"):
        entry = entries[original]
        for part in (None, *range(len(entry.diffusers))):
            for leaf in ("weight", "bias"):
                place = Place("transformer", entry, part)
                expected = (
                    whole[f"{front}{original}.{leaf}"] if part is None else parts[f"{entry.diffusers[part]}.{leaf}"]
                )
                for one in (ours, theirs):
                    assert torch.equal(one.read(one.at(place, leaf)), expected.reshape(len(expected), -1)), place


def test_a_layer_with_a_missing_part_is_not_there_whole(tmp_path):
    parts = {key: tensor for key, tensor in flux_parts().items() if ".to_k." not in key}
    ours = layout(model_file(tmp_path / "m.safetensors", parts))
    entry = next(e for e in ARCHITECTURES["flux"]().components[0].entries if e.original == "single_blocks.0.linear1")
    assert ours.at(Place("transformer", entry, None)) is None
    assert ours.at(Place("transformer", entry, 0)) is not None


def test_openclip_under_the_names_of_transformers(tmp_path):
    """As diffusers converts it."""
    pytest.importorskip("diffusers")
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    from tests.clients.pipelines import pipeline

    model = pipeline("sdxl").text_encoder_2
    width, front = 8, "conditioner.embedders.1.model."
    source = {f"{front}text_projection": normal(width, width)}
    for i in range(2):
        block = f"{front}transformer.resblocks.{i}."
        shapes = {
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
            "mlp.c_fc.weight": (12, width),
            "mlp.c_fc.bias": (12,),
            "mlp.c_proj.weight": (width, 12),
            "mlp.c_proj.bias": (width,),
        }
        source |= {block + key: normal(*shape, seed=i + 3 * j) for j, (key, shape) in enumerate(shapes.items())}
    theirs = convert_open_clip_checkpoint(model, dict(source), prefix=front)
    unet = {"model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight": normal(4, 4)}
    ours = layout(model_file(tmp_path / "m.safetensors", source | unet))
    assert ours.naming is not None and ours.naming.architecture == "sdxl"
    compared = 0
    for name, weights in ours.layers.items():
        for leaf, weight in weights.items():
            path = name.removeprefix("text_encoders.clip_g.transformer.")
            key = next((key for key in theirs if f"text_model.{key}".endswith(f"{path}.{leaf}")), None)
            if key is not None:
                compared += 1
                assert torch.equal(ours.read(weight).view_as(theirs[key]), theirs[key]), key
    assert compared == 2 * 12 + 1


def test_gpt2_is_transposed_and_a_bigcode_of_the_same_names_is_not(tmp_path):
    wide = {"h.0.attn.c_attn.weight": normal(4, 12), "h.0.attn.c_proj.weight": normal(4, 4)}
    high = {"h.0.attn.c_attn.weight": normal(12, 4), "h.0.attn.c_proj.weight": normal(4, 4)}
    for name, tensors, turned in (("wide", wide, True), ("high", high, False)):
        one = layout(model_folder(tmp_path / name, tensors, shards=1))
        for key, tensor in tensors.items():
            weight = one.layers[key.removesuffix(".weight")]["weight"]
            assert torch.equal(one.read(weight), tensor.mT if turned else tensor)


def test_text_encoders_alone_are_no_pipeline(tmp_path):
    names = [f"encoder.block.{i}.layer.0.SelfAttention.q.weight" for i in range(2)]
    one = layout(model_file(tmp_path / "m.safetensors", {name: normal(4, 4) for name in names}))
    assert one.naming is None and [f"{name}.weight" for name in one.layers] == names
