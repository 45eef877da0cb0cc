"""Which base model an adapter is for: what it says of itself, and names and widths of the layers that people have."""

from __future__ import annotations

import pytest
import torch

from lorafold.adapters import Adapter, Module, load
from lorafold.adapters.metadata.base_model import FLUX, SD1, SD2, SD2_V, SD3, SDXL, WAN, base_model
from tests.builders import DEMO

TE = "text_model_encoder_layers_0_self_attn_q_proj"
BLOCK = "transformer_blocks_0_attn2_to_k"


def one(name: str = "x", width: int = 8) -> dict[str, Module]:
    return {name: Module(name, torch.zeros(8, 1), torch.zeros(1, width), 1.0)}


@pytest.mark.parametrize(
    ("name", "width", "family"),
    [
        (f"lora_unet_down_blocks_0_attentions_0_{BLOCK}", 768, SD1),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", 768, SD1),
        (f"lora_unet_down_blocks_0_attentions_0_{BLOCK}", 1024, SD2),
        (f"lora_te_{TE}", 768, SD1),
        (f"lora_te_{TE}", 1024, SD2),
        (f"lora_unet_input_blocks_4_1_{BLOCK}", 2048, SDXL),
        ("lora_unet_input_blocks_8_1_transformer_blocks_9_attn1_to_q", 1280, SDXL),
        ("lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q", 1280, SDXL),
        ("unet.mid_block.attentions.0.transformer_blocks.7.attn1.to_q", 1280, SDXL),
        (f"lora_te2_{TE}", 1280, SDXL),
        ("lora_unet_double_blocks_0_img_attn_qkv", 3072, FLUX),
        ("lora_unet_single_blocks_37_linear1", 3072, FLUX),
        ("lora_unet_single_blocks_0_linear2", 15360, FLUX),
        ("transformer.single_transformer_blocks.3.attn.to_q", 3072, FLUX),
        ("transformer.transformer_blocks.3.attn.add_q_proj", 3072, FLUX),
        ("transformer.transformer_blocks.3.attn.add_q_proj", 1536, SD3),
        ("lora_unet_joint_blocks_3_x_block_attn_qkv", 2432, SD3),
        *((f"lora_unet_single_blocks_3_linear{1 + (n > 3072)}", n, FLUX) for n in (3072, 12288, 15360)),
        *((f"lora_unet_double_blocks_3_img_mlp_{2 * (n > 3072)}", n, FLUX) for n in (3072, 12288)),
        ("diffusion_model.blocks.3.self_attn.q", 5120, WAN),
        ("lora_unet_blocks_3_cross_attn_k", 5120, WAN),
        ("transformer.blocks.3.attn1.to_q", 1536, WAN),
    ],
)
def test_layers_tell(name, width, family):
    found = base_model(Adapter("kohya", one(name, width)))
    assert (found.family, found.name) == (family, family.name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.layers.0.self_attn.q_proj", "a Llama-like language model of width 4096"),
        ("model.layers.0.mlp.up_proj", None),
        ("bert.encoder.layer.0.attention.self.query", "a BERT-like encoder of width 4096"),
        ("transformer.h.0.attn.c_attn", "a GPT-2-like language model of width 4096"),
        ("encoder.block.0.layer.0.SelfAttention.q", "a T5-like model of width 4096"),
        ("lora_unet_double_blocks_19_img_attn_qkv", "HunyuanVideo"),
        ("lora_unet_double_blocks_3_img_attn_qkv", "Flux 2"),
        ("lora_unet_down_blocks_0_resnets_0_conv1", "a U-Net of Stable Diffusion"),
        ("features.0", None),
    ],
)
def test_other_models_are_described(name, words):
    found = base_model(Adapter("peft", one(name, 4096)))
    assert (found.name, found.family) == (words, None) if words else found is None


@pytest.mark.parametrize("width", [3072, 12288, 15360])
@pytest.mark.parametrize(
    "name", ["lora_unet_single_blocks_38_linear1", "transformer.single_transformer_blocks.39.attn.to_q"]
)
def test_more_blocks_than_flux_has_are_another_models(name, width):
    assert base_model(Adapter("kohya", one(name, width))).name.startswith("HunyuanVideo")


@pytest.mark.parametrize(
    ("key", "value", "family"),
    [
        ("ss_base_model_version", "sdxl_base_v1-0", SDXL),
        ("ss_base_model_version", "sd_v1", SD1),
        ("ss_base_model_version", "sd_v2_v", SD2_V),
        ("ss_base_model_version", "sd_v2", SD2),
        ("ss_base_model_version", "flux1", FLUX),
        ("ss_base_model_version", "wan", WAN),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora", SDXL),
        ("modelspec.architecture", "stable-diffusion-v1/lora", SD1),
        ("modelspec.architecture", "stable-diffusion-v2-768-v/lora", SD2_V),
        ("modelspec.architecture", "stable-diffusion-3-m/lora", SD3),
        ("modelspec.architecture", "flux-1-dev/lora", FLUX),
        ("modelspec.architecture", "wan2.1/lora", WAN),
    ],
)
def test_metadata_come_first(key, value, family):
    found = base_model(Adapter("kohya", one("lora_unet_joint_blocks_0_x_block_attn_qkv"), metadata={key: value}))
    assert (found.family, found.evidence) == (family, f"{key} {value}")


def test_a_model_that_nobody_knows_keeps_its_name():
    assert base_model(Adapter("kohya", one(), metadata={"ss_base_model_version": "qwen_image"})).name == "qwen_image"
    assert base_model(Adapter("peft", one(), config={"base_model_name_or_path": "me/taiwan"})).family is None


def test_the_shipped_adapter_says_it():
    assert base_model(load(DEMO[0])).name.endswith("all-MiniLM-L6-v2")


@pytest.mark.parametrize("key", ["ss_base_model_version", "modelspec.architecture"])
def test_an_empty_statement_is_none(key):
    (name,) = modules = one(f"lora_unet_input_blocks_4_1_{BLOCK}", 2048)
    assert base_model(Adapter("kohya", modules, metadata={key: ""})).family is SDXL, name


@pytest.mark.parametrize("value", [None, "", 5, ["a"]], ids=str)
def test_a_name_that_is_no_text_is_none(value):
    assert base_model(Adapter("peft", one(), config={"base_model_name_or_path": value})) is None
