"""Conversions: exact there and back, refused where a format or a dictionary has no place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorafold.adapters import Adapter, Module, load, save
from lorafold.adapters.conversion.convert import convert
from lorafold.common.errors import LorafoldError
from tests.adapters.conversions import ANCHORS, adapters, canonical, check_equal
from tests.adapters.samples import normal, update

FORMATS = ("kohya", "comfyui", "diffusers", "peft")


def one(name: str, form: str, *, m: int = 4, n: int = 20, **parts: object) -> Adapter:
    """One layer, by default of the proportions of Flux 1's linear2."""
    return Adapter(form, {name: replace(Module(name, normal(m, 2), normal(2, n), 0.5), **parts)}, path=Path("x"))


@pytest.mark.parametrize("architecture", ANCHORS)
@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_there_and_back_keeps_every_update(architecture: str, form: str, data: st.DataObject) -> None:
    one_model = form == "peft" or data.draw(st.booleans())
    before = data.draw(adapters(architecture, form, one_model=one_model))
    expected = canonical(before, architecture)
    for target in FORMATS if one_model else FORMATS[:-1]:
        there = convert(before, target)
        check_equal(canonical(there, architecture), expected)
        back = convert(there, form)
        check_equal(canonical(back, architecture), expected)
        assert (there.format, back.format, there.metadata["who"]) == (target, form, "é")
        for name in before.modules.keys() & back.modules.keys():
            first, last = before.modules[name], back.modules[name]
            assert (first.kernel, first.kind, first.shape) == (last.kernel, last.kind, last.shape)


@pytest.mark.parametrize("architecture", ANCHORS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_converted_files_load_with_the_same_updates(
    architecture: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = data.draw(adapters(architecture, data.draw(st.sampled_from(FORMATS)), one_model=True))
    dtype = next(iter(before.modules.values())).up.dtype
    for target in FORMATS:
        there = convert(before, target)
        path = tmp_path_factory.mktemp("a") / ("a" if target == "peft" else "a.safetensors")
        after = load(save(there, path))
        assert after.format == target and after.modules.keys() == there.modules.keys()
        for name, module in there.modules.items():
            bound = abs(module.scale) * (module.up.double().abs() @ module.down.double().abs())
            assert ((update(after.modules[name]) - update(module)).abs() <= torch.finfo(dtype).eps * bound).all()


@pytest.mark.parametrize(
    ("name", "form", "target", "renamed"),
    [
        (
            "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0",
            "kohya",
            "diffusers",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0",
        ),
        (
            "lora_unet_input_blocks_7_1_transformer_blocks_9_ff_net_0_proj",
            "kohya",
            "diffusers",
            "unet.down_blocks.2.attentions.0.transformer_blocks.9.ff.net.0.proj",
        ),
        ("lora_unet_input_blocks_3_0_op", "kohya", "diffusers", "unet.down_blocks.0.downsamplers.0.conv"),
        (
            "lora_te2_text_model_encoder_layers_31_mlp_fc1",
            "kohya",
            "diffusers",
            "text_encoder_2.text_model.encoder.layers.31.mlp.fc1",
        ),
        (
            "lora_unet_blocks_39_cross_attn_k_img",
            "kohya",
            "diffusers",
            "transformer.blocks.39.attn2.add_k_proj",
        ),
        ("diffusion_model.blocks.0.ffn.2", "comfyui", "kohya", "lora_unet_blocks_0_ffn_2"),
        (
            "lora_transformer_single_transformer_blocks_37_proj_out",
            "kohya",
            "comfyui",
            "diffusion_model.single_blocks.37.linear2",
        ),
        ("lycoris_single_transformer_blocks_3_proj_out", "kohya", "kohya", "lora_unet_single_blocks_3_linear2"),
        ("diffusion_model.single_blocks.3.linear2", "kohya", "kohya", "lora_unet_single_blocks_3_linear2"),
        ("down_blocks.0.attentions.0.proj_in", "peft", "kohya", "lora_unet_down_blocks_0_attentions_0_proj_in"),
        ("text_encoder_3.encoder.block.23.layer.1.DenseReluDense.wi_0",
         "diffusers", "kohya", "lora_te3_encoder_block_23_layer_1_DenseReluDense_wi_0"),
    ],
)  # fmt: skip
def test_names_as_the_tools_write_them(name: str, form: str, target: str, renamed: str) -> None:
    assert list(convert(one(name, form), target).modules) == [renamed]


def test_a_fused_layer_becomes_its_parts_in_order() -> None:
    before = one("lora_unet_single_blocks_0_linear1", "kohya", m=21, n=3)
    after = convert(before, "diffusers")
    path = "transformer.single_transformer_blocks.0."
    names = [path + part for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    assert list(after.modules) == names
    rows = update(before.modules["lora_unet_single_blocks_0_linear1"]).split([3, 3, 3, 12])
    assert all(torch.equal(update(after.modules[name]), row) for name, row in zip(names, rows, strict=True))


def test_scales_that_differ_round_one_factor_once_when_fused() -> None:
    names = [f"transformer.transformer_blocks.0.attn.{part}" for part in ("to_q", "to_k", "to_v")]
    parts = [Module(name, normal(4, 2, seed=i), normal(2, 3072), 0.3 + i / 7) for i, name in enumerate(names)]
    alone = Module("transformer.single_transformer_blocks.0.proj_out", normal(4, 2), normal(2, 20), 1.0)
    fused = convert(Adapter("diffusers", {part.name: part for part in (*parts, alone)}), "kohya")
    whole, _ = fused.modules.values()
    assert whole.name == "lora_unet_double_blocks_0_img_attn_qkv"
    for part, row in zip(parts, update(whole).split(4), strict=True):
        bound = part.scale * (part.up.double().abs() @ part.down.double().abs())
        assert ((row - update(part)).abs() <= 2**-24 * bound).all()


@pytest.mark.parametrize(("form", "kept"), [("kohya", "lora_unet_x"), ("peft", "model.layers.0.q_proj")])
def test_an_unknown_model_stays_in_its_own_format(form: str, kept: str) -> None:
    adapter = one(kept, form)
    assert convert(adapter, form) is adapter


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("lora_unet_blocks_0_self_attn_q", "kohya"),
        ("lora_unet_mid_block_attentions_0_proj_in", "kohya"),
        ("lora_unet_double_blocks_0_img_attn_qkv", "kohya"),
        ("transformer.transformer_blocks.0.attn.to_q", "diffusers"),  # one part of three of a fused layer
        ("transformer.transformer_blocks.0.attn.to_v", "diffusers"),
    ],
)
def test_usual_names_stay_the_same_object(name: str, form: str) -> None:
    adapter = one(name, form)
    assert convert(adapter, form) is adapter


@pytest.mark.parametrize(("n", "renamed"), [(768, "mid_block_attentions_0"), (2048, "middle_block_1")])
def test_width_tells_what_names_do_not(n: int, renamed: str) -> None:
    """SD and SDXL share these names in diffusers, but kohya spells them differently for each."""
    tail = "transformer_blocks.0.attn2.to_k"
    adapter = convert(one(f"unet.mid_block.attentions.0.{tail}", "diffusers", n=n), "kohya")
    assert list(adapter.modules) == [f"lora_unet_{renamed}_{tail.replace('.', '_')}"]


def test_additive_tensors_follow_their_layer() -> None:
    adapter = replace(one("lora_unet_blocks_0_ffn_0", "kohya"), deltas={"lora_unet_blocks_0_ffn_0.diff_b": normal(6)})
    assert list(convert(adapter, "comfyui").deltas) == ["diffusion_model.blocks.0.ffn.0.diff_b"]
    assert list(convert(convert(adapter, "comfyui"), "kohya").deltas) == ["lora_unet_blocks_0_ffn_0.diff_b"]


@pytest.mark.parametrize(
    ("name", "target", "key"),
    [
        ("lora_transformer_single_transformer_blocks_0_proj_out", "kohya", "lora_unet_single_blocks_0_linear2"),
        ("lora_unet_double_blocks_0_img_mod_lin", "comfyui", "diffusion_model.double_blocks.0.img_mod.lin"),
        ("lora_transformer_single_transformer_blocks_0_attn_to_q", "kohya", None),  # part of a fused layer
        ("lora_transformer_norm_out_linear", "kohya", None),  # whose rows stand in another order
    ],
)
def test_additive_tensors_are_renamed_where_their_rows_stay(name: str, target: str, key: str | None) -> None:
    telling = ("lora_transformer_time_text_embed_text_embedder_linear_1", "lora_transformer_x_embedder")  # Flux 1
    modules = {key: module for layer in (name, *telling) for key, module in one(layer, "kohya").modules.items()}
    adapter = Adapter("kohya", one(name, "kohya").modules if key else modules, deltas={f"{name}.diff_b": normal(6)})
    if key is None:
        with pytest.raises(LorafoldError, match=rf"{name}\.diff_b: no counterpart in the names of {target}"):
            convert(adapter, target)
    else:
        assert list(convert(adapter, target).deltas) == [f"{key}.diff_b"]


def test_a_bias_is_scaled_along(tmp_path: Path) -> None:
    adapter = one("down_blocks.0.attentions.0.proj_in", "peft", m=6, bias=normal(6))
    again = load(save(convert(adapter, "diffusers"), tmp_path / "a.safetensors"))
    (module,) = again.modules.values()
    assert torch.equal(module.bias * module.scale, 0.5 * normal(6))


WAN = "lora_unet_blocks_0_ffn_0"


@pytest.mark.parametrize(
    ("adapter", "target", "problem"),
    [
        (one(WAN, "kohya"), "onnx", "unknown format 'onnx'"),
        (one("lora_unet_foo", "kohya"), "diffusers", "x: lora_unet_foo: not a layer of any architecture known by name"),
        (
            Adapter("kohya", one(WAN, "kohya").modules | one("lora_unet_blocks_40_ffn_0", "kohya").modules),
            "diffusers",
            "lora_unet_blocks_40_ffn_0: not a layer of Wan 2, of which 1 other layers are",
        ),
        (one("unet.mid_block.attentions.0.proj_in", "diffusers"), "kohya", "Stable Diffusion 2 or SDXL, whose"),
        (replace(one(WAN, "kohya"), deltas={f"{WAN}.diff": normal(2)}), "diffusers", f"{WAN}.diff: an additive tensor"),
        (replace(one(WAN, "kohya"), deltas={"lora_unet_n.diff": normal(2)}), "comfyui", "lora_unet_n.diff: no co"),
        (replace(one("blocks.0.ffn.net.2", "peft"), extras={"h": normal(2)}), "diffusers", "x: h: a whole weight"),
        (one("blocks.0.ffn.net.2", "peft", bias=normal(6)), "kohya", "x: blocks.0.ffn.net.2: a LoRA bias"),
        (one("blocks.0.ffn.net.2", "peft", kind="embedding"), "diffusers", "an embedding"),
        (one("lora_unet_double_blocks_0_img_attn_qkv", "kohya", m=7), "diffusers", "7 rows, which do not divide"),
    ],
)  # fmt: skip
def test_refused(adapter: Adapter, target: str, problem: str) -> None:
    with pytest.raises(LorafoldError) as caught:
        convert(adapter, target)
    assert problem in str(caught.value) and caught.value.remedy


def test_a_peft_adapter_is_for_one_model() -> None:
    names = ("lora_unet_down_blocks_0_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1")
    adapter = Adapter("kohya", {name: Module(name, normal(2, 1), normal(1, 2), 1.0) for name in names})
    with pytest.raises(LorafoldError, match="holds layers of unet, text_encoder"):
        convert(adapter, "peft")


@pytest.mark.parametrize(
    ("shapes", "target", "renamed"),
    [
        ({"diffusion_model.single_blocks.0.linear1": (27, 3)}, "diffusers",
         ["transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj"]),
        ({"diffusion_model.double_blocks.0.img_mlp.0": (18, 3)}, "diffusers",
         ["transformer.transformer_blocks.0.ff.linear_in"]),
        ({"diffusion_model.layers.0.attention.qkv": (10, 6)}, "diffusers",
         [f"transformer.layers.0.attn.to_{part}" for part in "qkv"]),
        ({"lora_unet_layers_0_attention_to_q": (3, 3)}, "comfyui", ["diffusion_model.layers.0.attention.to_q"]),
        ({"lora_unet_context_refiner_0_attention_qkv": (9, 3)}, "comfyui",
         [f"diffusion_model.context_refiner.0.attention.to_{part}" for part in "qkv"]),
        ({"lora_unet_transformer_blocks_59_img_mlp_net_0_proj": (12, 3)}, "diffusers",
         ["transformer.transformer_blocks.59.img_mlp.net.0.proj"]),
        ({"blocks.0.self_attn.q": (3, 3)}, "diffusers", ["transformer.blocks.0.attn1.to_q"]),
    ],
)  # fmt: skip
def test_models_that_share_names_are_told_apart(shapes: dict, target: str, renamed: list[str]) -> None:
    modules = {name: Module(name, normal(m, 2), normal(2, n), 1.0) for name, (m, n) in shapes.items()}
    assert (
        list(convert(Adapter("comfyui" if "." in next(iter(modules)) else "kohya", modules), target).modules) == renamed
    )


@pytest.mark.parametrize(
    ("name", "shape", "titles"),
    [
        ("transformer.single_transformer_blocks.0.attn.to_k", (3, 3), "Flux 1 or Chroma or AuraFlow or HunyuanVideo"),
        ("transformer.transformer_blocks.0.attn2.to_q", (3, 3), "Stable Diffusion 3 or LTX-Video or PixArt"),
        ("transformer.transformer_blocks.0.attn.to_q", (3072, 3072), "Flux 1 or Flux 2 or Chroma or Qwen-Image"),
    ],
)
def test_names_of_several_models_are_not_guessed(name: str, shape: tuple[int, int], titles: str) -> None:
    with pytest.raises(LorafoldError, match=f"could be for {titles}"):
        convert(one(name, "diffusers", m=shape[0], n=shape[1]), "comfyui")


@pytest.mark.parametrize(
    ("stated", "renamed"),
    [("flux-1-dev/lora", "double_blocks.0.img_attn.qkv"), ("qwen-image/lora", "transformer_blocks.0.attn.to_q")],
)
def test_metadata_tell_what_names_do_not(stated: str, renamed: str) -> None:
    adapter = replace(
        one("transformer.transformer_blocks.0.attn.to_q", "diffusers"), metadata={"modelspec.architecture": stated}
    )
    assert list(convert(adapter, "comfyui").modules) == [f"diffusion_model.{renamed}"]


def test_shapes_that_contradict_the_metadata_are_said_to_do_so() -> None:
    adapter = replace(one("lora_unet_single_blocks_0_linear2", "kohya"), metadata={"ss_base_model_version": "flux2"})
    with pytest.raises(LorafoldError, match=r"are those of Flux 1 or Flux 2 or Chroma.*, but its shapes are not"):
        convert(adapter, "diffusers")


def test_metadata_of_another_model_are_not_overruled() -> None:
    adapter = replace(one("lora_unet_blocks_0_ffn_0", "kohya"), metadata={"ss_base_model_version": "flux2_klein_4b"})
    with pytest.raises(LorafoldError, match=r"are those of Wan 2, but it is for Flux 2 \(ss_base_model_version"):
        convert(adapter, "diffusers")


@pytest.mark.parametrize(
    ("name", "form"),
    [("model.diffusion_model.blocks.0.self_attn.q", "comfyui"), ("lora_unet_blocks_0.self_attn.q", "kohya")],
)
def test_wrappers_do_not_hide_a_known_model(name: str, form: str) -> None:
    adapter = convert(one(name, form), "diffusers")
    assert list(adapter.modules) == ["transformer.blocks.0.attn1.to_q"]


def test_trailing_underscores_are_no_part_of_a_name() -> None:
    adapter = convert(one("lora_unet_single_transformer_blocks_0_proj_out_", "kohya"), "diffusers")
    assert list(adapter.modules) == ["transformer.single_transformer_blocks.0.proj_out"]
