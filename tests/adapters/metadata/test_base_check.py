"""Adapters of different architectures are refused, those of one are not, whatever their formats."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.adapters.metadata.base_model import base_of_layers
from lorafold.common.errors import LorafoldError
from lorafold.layers.line_up import load_all
from tests.builders import one_thread as one_thread

VERSION, ARCHITECTURE, CHECKPOINT = "ss_base_model_version", "modelspec.architecture", "ss_sd_model_name"


def adapter(form: str, layers: dict[str, tuple[int, int]], name: str = "", base: str | None = None, **metadata: str):
    modules = {key: Module(key, torch.ones(m, 1), torch.ones(1, n), 1.0) for key, (m, n) in layers.items()}
    config = {} if base is None else {"base_model_name_or_path": base}
    return Adapter(form, modules, metadata=metadata, config=config, path=Path(name) if name else None)


def stacked(pattern: str, count: int, m: int, n: int) -> dict[str, tuple[int, int]]:
    return {pattern.format(i): (m, n) for i in range(count)}


def unet(width: int, form: str = "kohya") -> dict[str, tuple[int, int]]:
    layers = {
        f"down_blocks.1.attentions.0.transformer_blocks.0.attn{i}.to_k": (640, n) for i, n in ((1, 640), (2, width))
    }
    return {f"lora_unet_{key.replace('.', '_')}" if form == "kohya" else f"unet.{key}": s for key, s in layers.items()}


def clip(prefix: str, width: int) -> dict[str, tuple[int, int]]:
    return stacked(prefix + "text_model_encoder_layers_{}_self_attn_q_proj", 2, width, width)


SDXL_KOHYA = stacked("lora_unet_input_blocks_7_1_transformer_blocks_{}_attn2_to_k", 2, 1280, 2048)
SDXL_DIFFUSERS = stacked("unet.down_blocks.2.attentions.0.transformer_blocks.{}.attn2.to_k", 2, 1280, 2048)
FLUX = stacked("lora_unet_double_blocks_{}_img_attn_proj", 19, 3072, 3072)
QUERY, VALUE = "model.layers.{}.self_attn.q_proj", "model.layers.{}.self_attn.v_proj"
MODELS = {
    "sd1": adapter("kohya", unet(768) | clip("lora_te_", 768)),
    "sd1 stated": adapter("kohya", unet(768), **{VERSION: "sd_v1"}),
    "sd2": adapter("kohya", unet(1024), **{VERSION: "sd_v2"}),
    "sdxl": adapter("kohya", SDXL_KOHYA | clip("lora_te1_", 768) | clip("lora_te2_", 1280)),
    "sdxl diffusers": adapter("diffusers", SDXL_DIFFUSERS, **{ARCHITECTURE: "stable-diffusion-xl-v1-base/lora"}),
    "sd3": adapter("diffusers", stacked("transformer.transformer_blocks.{}.attn.add_q_proj", 3, 1536, 1536)),
    "flux": adapter("kohya", FLUX, **{VERSION: "flux1"}),
    "flux2": adapter("kohya", FLUX, **{VERSION: "flux2_klein_4b"}),
    "hunyuan": adapter("kohya", stacked("lora_unet_double_blocks_{}_img_attn_proj", 20, 3072, 3072)),
    "qwen": adapter("diffusers", stacked("transformer.transformer_blocks.{}.attn.add_q_proj", 60, 3072, 3072)),
    "wan": adapter("comfyui", stacked("diffusion_model.blocks.{}.self_attn.q", 2, 1536, 1536)),
    "llama of 4096": adapter("peft", stacked(QUERY, 2, 4096, 4096)),
    "llama of 3072": adapter("peft", stacked(QUERY, 2, 3072, 3072)),
    "bert": adapter("peft", stacked("bert.encoder.layer.{}.attention.self.query", 2, 768, 768)),
    "gpt": adapter("peft", stacked("transformer.h.{}.attn.c_attn", 2, 2304, 768)),
    "t5": adapter("peft", stacked("encoder.block.{}.layer.0.SelfAttention.q", 2, 512, 512)),
}
ALIKE = [{"sd1", "sd1 stated"}, {"sdxl", "sdxl diffusers"}]


@pytest.mark.parametrize(("one", "two"), [pair for pair in combinations(MODELS, 2) if set(pair) not in ALIKE])
def test_different_architectures_are_refused(one, two):
    first, second = (replace(MODELS[name], path=Path(f"{name}.file")) for name in (one, two))
    with pytest.raises(LorafoldError) as caught:
        load_all([first, second])
    message = str(caught.value)
    assert message.startswith(f"{two}.file: for ") and f"{one}.file is for " in message
    assert message.count("layers)") + message.count("_version") + message.count(ARCHITECTURE) == 2  # evidence of both
    assert "allow_different_bases=true" in message


def silent(caplog, *adapters: Adapter) -> bool:
    load_all(adapters)
    return not caplog.messages


@pytest.mark.parametrize("pair", [sorted(pair) for pair in ALIKE], ids=str)
def test_one_architecture_passes_in_any_format(caplog, pair):
    assert silent(caplog, *(MODELS[name] for name in pair))


@pytest.mark.parametrize("text", [clip("lora_te1_", 768), clip("lora_te_", 768)], ids=["te1", "te"])
@pytest.mark.parametrize("name", ["sd1 stated", "sdxl"])
def test_a_text_encoder_that_several_models_have_is_not_refused(name, text):
    load_all([MODELS[name], adapter("kohya", text)])


def test_but_no_model_with_another_text_encoder():
    with pytest.raises(LorafoldError, match="Stable Diffusion 2"):
        load_all([MODELS["sd1"], adapter("kohya", clip("lora_te_", 1024))])


def test_widths_tell_models_apart_whose_adapted_layers_differ():
    first, second = adapter("peft", stacked(QUERY, 2, 4096, 4096)), adapter("peft", stacked(VALUE, 2, 1024, 3072))
    with pytest.raises(LorafoldError, match=r"adapter 2: .* of width 3072 .* adapter 1 .* of width 4096"):
        load_all([first, second])


def test_two_stacks_of_one_model_may_differ_in_width():
    tower = {f"vision_tower.{key}": size for key, size in stacked(QUERY, 2, 1024, 1024).items()}
    load_all([adapter("peft", stacked(QUERY, 2, 4096, 4096)), adapter("peft", tower)])


def test_names_of_other_models_do_not_pass_for_sdxl():
    """LTX-Video has cross attention of SDXL's width."""
    ltx = stacked("transformer.transformer_blocks.{}.attn2.to_k", 2, 2048, 2048)
    assert base_of_layers(adapter("diffusers", ltx)) is None


def test_metadata_that_the_layers_contradict_do_not_count(caplog):
    wrong = adapter("kohya", unet(768), "wrong.safetensors", **{VERSION: "sdxl_base_v1-0"})
    load_all([wrong, MODELS["sd1 stated"]])
    assert caplog.messages == [
        f"wrong.safetensors: {VERSION} sdxl_base_v1-0, but names and widths of the layers are those of "
        "Stable Diffusion 1: the layers decide"
    ]
    with pytest.raises(LorafoldError):
        load_all([wrong, MODELS["sdxl"]])
    (warning,) = (line for line in lorafold.inspect(wrong).metrics()["warnings"] if VERSION in line)
    assert warning.endswith("those of Stable Diffusion 1: one of them is wrong")


def test_insisting_is_a_warning(caplog):
    llama, bert = MODELS["llama of 4096"], MODELS["bert"]
    result = lorafold.merge([llama, bert], rank=1, allow_different_bases=True)
    assert len(result.adapter.modules) == 4
    assert "allow_different_bases=true" in caplog.messages[0] and "side by side" in caplog.messages[1]


@pytest.mark.parametrize("command", [lorafold.merge, lorafold.compare, lorafold.align])
def test_every_command_on_several_adapters_refuses(command):
    with pytest.raises(LorafoldError, match="a BERT-like encoder"):
        command([MODELS["llama of 4096"], MODELS["bert"]])


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        ({VERSION: "sd_v2"}, {VERSION: "sd_v2_v"}, ("Stable Diffusion 2", "Stable Diffusion 2 (v)")),
        (
            {CHECKPOINT: "sd_xl_base_1.0.safetensors"},
            {CHECKPOINT: "pony.safetensors"},
            ("sd_xl_base_1.0.safetensors", "pony.safetensors"),
        ),
        ({"base": "meta-llama/Llama-3.1-8B"}, {"base": "Qwen/Qwen3-8B"}, ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-8B")),
        (
            {"modelspec.prediction_type": "epsilon"},
            {"modelspec.prediction_type": "v"},
            ("a model that predicts epsilon", "one that predicts v"),
        ),
    ],
)
def test_different_checkpoints_of_one_architecture_are_told(caplog, one, two, told):
    layers = unet(1024) if VERSION in one else {"a": (4, 4)}
    load_all([adapter("kohya", layers, "a", **one), adapter("kohya", layers, "b", **two)])
    (message,) = caplog.messages
    assert message == f"different base weights: a was trained on {told[0]}, b on {told[1]}: a merge may suit neither"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (
            {CHECKPOINT: "x.safetensors", "ss_new_sd_model_hash": "1"},
            {CHECKPOINT: "y.ckpt", "ss_new_sd_model_hash": "1"},
        ),
        ({CHECKPOINT: "/a/Pony.safetensors"}, {CHECKPOINT: "pony.ckpt"}),
        ({VERSION: "zimage"}, {ARCHITECTURE: "Z-Image/lora"}),
        ({VERSION: "sdxl_base_v1-0"}, {VERSION: "sdxl_1.0"}),
        ({"base": "meta-llama/Llama-3.1-8B"}, {"base": "/models/llama-3.1-8b/"}),
        ({"base": "meta-llama/Llama-3.1-8B"}, {"base": "unsloth/llama-3.1-8b-unsloth-bnb-4bit"}),
        ({"base": "a/gpt2"}, {"base": "/home/me/.cache/models--a--gpt2/snapshots/0123"}),
        ({"base": "a/gpt2"}, {CHECKPOINT: "b"}),
        ({VERSION: "flux1"}, {}),
    ],
)
def test_one_checkpoint_by_two_names_is_not(caplog, one, two):
    assert silent(caplog, adapter("kohya", {"a": (4, 4)}, **one), adapter("kohya", {"a": (4, 4)}, **two))


def test_adapters_without_a_common_layer_are_told(caplog):
    a, b = adapter("kohya", {"a": (4, 4)}, "a"), adapter("kohya", {"b": (4, 4)}, "b")
    load_all([a, b])
    load_all([a, a, b])
    assert "no layer is in more than one" in caplog.messages[0]
    assert caplog.messages[1:] == ["b: no layer in common with the other adapters: a merge holds it beside them"]


@pytest.mark.parametrize(("shape", "asked"), [((4, 4), True), ((4, 5), False)])
def test_adapters_whose_paths_end_alike_are_asked_about(caplog, shape, asked):
    load_all([adapter("kohya", {"one.x.0.q": (4, 4)}), adapter("kohya", {"other.y.0.q": shape})])
    (message,) = caplog.messages
    assert message.endswith("; but one.x.0.q and other.y.0.q end alike: are they one layer?") == asked
    assert "side by side" in message
