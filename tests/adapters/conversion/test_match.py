"""Adapters of several formats and spellings in one merge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lorafold.adapters import Adapter, Module, save
from lorafold.adapters.conversion.convert import convert
from lorafold.adapters.conversion.match import matched
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.pipeline import merge
from tests.adapters.samples import normal, update

QKV = "lora_unet_double_blocks_0_img_attn_qkv"
LAYERS = {
    "lora_unet_single_blocks_0_linear2": (4, 20),
    QKV: (6, 4),
    "lora_te1_text_model_encoder_layers_0_mlp_fc1": (6, 4),
}
PROJ_OUT = {"up": normal(4, 2), "down": normal(2, 20)}


def flux(seed: int, form: str = "kohya", rank: int = 2) -> Adapter:
    """Three layers of Flux, one of them fused in kohya's files; both formats hold the same updates."""
    modules = {
        name: Module(name, normal(m, rank, seed=seed + i).double(), normal(rank, n, seed=seed + i + 5).double(), 0.5)
        for i, (name, (m, n)) in enumerate(LAYERS.items())
    }
    return convert(Adapter("kohya", modules, path=Path(f"{seed}.safetensors")), form)


@pytest.mark.parametrize("forms", [("kohya", "diffusers"), ("diffusers", "kohya"), ("comfyui", "diffusers")])
def test_a_mixed_merge_equals_the_one_in_the_format_of_the_first(forms: tuple[str, str]) -> None:
    first, other = forms
    mixed = merge([flux(1, first), flux(2, other)], rank=3, seed=0).adapter
    plain = merge([flux(1, first), flux(2, first)], rank=3, seed=0).adapter
    assert mixed.format == first and mixed.modules.keys() == plain.modules.keys() == flux(1, first).modules.keys()
    for name, module in plain.modules.items():
        torch.testing.assert_close(update(mixed.modules[name]), update(module), rtol=1e-9, atol=1e-9)


def test_files_of_two_formats_merge(tmp_path: Path) -> None:
    paths = [save(flux(i, form), tmp_path / f"{form}.safetensors") for i, form in enumerate(("kohya", "diffusers"))]
    merged = merge(paths, rank="max", weights=[1.0, 2.0]).adapter
    expected = update(flux(0).modules[QKV]) + 2 * update(flux(1).modules[QKV])
    torch.testing.assert_close(update(merged.modules[QKV]), expected, rtol=1e-9, atol=1e-9)


def test_spellings_within_one_format_are_matched() -> None:
    """OneTrainer's names are diffusers' with underscores; both are kohya files."""
    name = "lora_transformer_single_transformer_blocks_0_proj_out"
    theirs = Adapter("kohya", {name: Module(name, **PROJ_OUT, scale=1.0)})
    first, other = matched([flux(1), theirs])
    (renamed,) = other.modules.values()
    assert renamed.name == next(iter(LAYERS)) and renamed.up is theirs.modules[name].up
    assert first.modules.keys() == set(LAYERS)


@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_unknown_models_of_one_format_are_matched_by_their_own_names(form: str) -> None:
    adapters = [Adapter(form, {name: Module(name, normal(6, 2), normal(2, 4), 1.0)}) for name in ("x.a", "x.b")]
    assert all(before is after for before, after in zip(adapters, matched(adapters), strict=True))


def test_equal_names_need_no_dictionary() -> None:
    name = "diffusion_model.some_model.0.q"
    modules = {name: Module(name, normal(6, 2), normal(2, 4), 1.0)}
    _, other = matched([Adapter("comfyui", modules), Adapter("kohya", modules)])
    assert other.format == "comfyui" and list(other.modules) == [name]


@pytest.mark.parametrize(
    ("first", "other", "problem"),
    [
        ("lora_unet_foo", "transformer.blocks.0.attn1.to_q", "0: lora_unet_foo: not a layer of any architecture"),
        ("lora_unet_blocks_0_ffn_0", "unet.foo", "1: unet.foo: not a layer of any architecture known by name"),
        (
            "lora_unet_blocks_0_ffn_0",
            "transformer.single_transformer_blocks.0.proj_out",
            "0.proj_out: a layer of Flux 1 or Chroma or HunyuanVideo, but 0 is for Wan 2",
        ),
    ],
)
def test_without_counterpart_it_is_refused(first: str, other: str, problem: str) -> None:
    pairs = enumerate(((first, "kohya"), (other, "diffusers")))
    adapters = [
        Adapter(form, {name: Module(name, **PROJ_OUT, scale=1.0)}, path=Path(str(i))) for i, (name, form) in pairs
    ]
    with pytest.raises(LorafoldError) as caught:
        matched(adapters)
    assert problem in str(caught.value) and caught.value.remedy


def test_what_the_first_format_cannot_hold_is_refused() -> None:
    name = "transformer.single_transformer_blocks.0.proj_out"
    biased = Adapter("diffusers", {name: Module(name, **PROJ_OUT, scale=1.0, bias=normal(4))})
    with pytest.raises(LorafoldError, match="a LoRA bias, which a file of format kohya cannot hold"):
        matched([flux(1), replace(biased, path=Path("b"))])


@pytest.mark.parametrize("parts", [{"bias": normal(6)}, {"kind": "embedding"}], ids=str)
def test_what_the_first_format_cannot_hold_is_refused_under_equal_names_too(parts: dict) -> None:
    plain = Module(QKV, normal(6, 2), normal(2, 4), 1.0)
    other = Adapter("peft", {QKV: replace(plain, **parts)}, path=Path("b"))
    with pytest.raises(LorafoldError, match="which a file of format kohya cannot hold"):
        matched([Adapter("kohya", {QKV: plain}), other])


WRAPPED = (
    ("diffusion_model.some.0.to_q", "transformer.some.0.to_q"),
    ("lora_unet_some_0_to_q", "diffusion_model.some.0.to_q"),
    ("some.0.to_q", "diffusion_model.some.0.to_q"),
    ("lycoris_some_0_to_q", "lora_unet_some_0_to_q_"),
    ("model.layers.0.q_proj", "model.language_model.layers.0.q_proj"),
    ("model.language_model.layers.0.q_proj", "language_model.model.layers.0.q_proj"),
    ("model.diffusion_model.some.0.to_q", "module._orig_mod.some.0.to_q"),
)


@pytest.mark.parametrize("names", [*WRAPPED, *((b, a) for a, b in WRAPPED)], ids=str)
def test_a_path_behind_another_wrapper_is_the_same_layer(names: tuple[str, str]) -> None:
    """No dictionary knows these models."""
    first, other = (
        Adapter(
            "kohya", {name: Module(name, normal(6, 2, seed=i), normal(2, 4), 1.0)}, deltas={f"{name}.diff_b": normal(6)}
        )
        for i, name in enumerate(names)
    )
    renamed = matched([first, other])[1]
    assert list(renamed.modules) == [names[0]] and list(renamed.deltas) == [f"{names[0]}.diff_b"]
    assert renamed.modules[names[0]].name == names[0]
    assert torch.equal(renamed.modules[names[0]].up, other.modules[names[1]].up)


def unknown(form: str, *names: str) -> Adapter:
    return Adapter(form, {name: Module(name, normal(6, 2), normal(2, 4), 1.0) for name in names}, path=Path(names[0]))


def test_layers_that_the_first_lacks_get_its_wrapper() -> None:
    first = unknown("comfyui", "diffusion_model.some.0.a")
    other = unknown("diffusers", "transformer.some.0.a", "transformer.some.1.a")
    assert list(matched([first, other])[1].modules) == ["diffusion_model.some.0.a", "diffusion_model.some.1.a"]
    flat = unknown("kohya", "lora_unet_some_0_a")
    assert list(matched([flat, other])[1].modules) == ["lora_unet_some_0_a", "lora_unet_some_1_a"]


def test_dots_that_cannot_be_known_are_not_guessed() -> None:
    first, other = (
        unknown("comfyui", "diffusion_model.some.0.a"),
        unknown("kohya", "lora_unet_some_0_a", "lora_unet_some_b"),
    )
    with pytest.raises(LorafoldError, match="lora_unet_some_0_a: not a layer of any architecture known by name"):
        matched([first, other])


def test_whole_weights_move_with_their_layer() -> None:
    first = unknown("peft", "model.layers.0.q_proj")
    other = replace(
        unknown("peft", "model.language_model.layers.0.q_proj"),
        extras={"base_model.model.model.language_model.embed_tokens.weight": normal(3, 2)},
    )
    assert list(matched([first, other])[1].extras) == ["base_model.model.model.embed_tokens.weight"]


def test_two_experts_of_one_file_stay_apart() -> None:
    names = [f"{part}.blocks.0.attn1.to_q" for part in ("transformer", "transformer_2")]
    first, other = unknown("diffusers", *names), unknown("diffusers", *names, "transformer_2.blocks.1.attn1.to_q")
    assert matched([first, other])[1] is other


def test_names_that_shapes_contradict_are_said_to_be_so() -> None:
    first, other = unknown("comfyui", "diffusion_model.single_blocks.0.linear2"), unknown("diffusers", "unet.conv_in")
    with pytest.raises(LorafoldError, match="are those of Flux 1 or Flux 2 or Chroma or HunyuanVideo, but its shapes"):
        matched([first, other])
