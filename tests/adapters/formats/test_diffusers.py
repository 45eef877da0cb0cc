"""diffusers files against hand formulas: names of every age, scales, what is written, what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lorafold.adapters import Adapter, Module, load, save
from lorafold.adapters.formats.fold_scale import folded
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import kohya_file, normal, update

DOWN, UP = normal(2, 5), normal(6, 2, seed=1)
KEY = "lora_adapter_metadata"


def written(path: Path, name: str = "unet.a.to_q", *, metadata: dict | None = None, **more: torch.Tensor) -> Path:
    tensors = {f"{name}.lora_A.weight": DOWN, f"{name}.lora_B.weight": UP}
    tensors |= {f"{name}.{suffix.replace('__', '.')}": tensor for suffix, tensor in more.items()}
    header = {"format": "pt"} | ({} if metadata is None else {KEY: json.dumps(metadata)})
    return kohya_file(path / "pytorch_lora_weights.safetensors", tensors, header)


@pytest.mark.parametrize(
    ("down", "up", "name"),
    [
        ("unet.x.to_q.lora_A.weight", "unet.x.to_q.lora_B.weight", "unet.x.to_q"),
        ("transformer.x.proj_out.lora_A.weight", "transformer.x.proj_out.lora_B.weight", "transformer.x.proj_out"),
        ("unet.x.to_q.lora_A.default.weight", "unet.x.to_q.lora_B.default.weight", "unet.x.to_q"),
        ("unet.x.to_out.0.lora.down.weight", "unet.x.to_out.0.lora.up.weight", "unet.x.to_out.0"),
        ("unet.x.processor.to_q_lora.down.weight", "unet.x.processor.to_q_lora.up.weight", "unet.x.to_q"),
        ("unet.x.processor.to_out_lora.down.weight", "unet.x.processor.to_out_lora.up.weight", "unet.x.to_out.0"),
        ("x.processor.to_k_lora.down.weight", "x.processor.to_k_lora.up.weight", "unet.x.to_k"),
        (
            "text_encoder.x.q_proj.lora_linear_layer.down.weight",
            "text_encoder.x.q_proj.lora_linear_layer.up.weight",
            "text_encoder.x.q_proj",
        ),
        (
            "text_encoder.encoder.layers.0.mlp.fc1.lora_A.weight",
            "text_encoder.encoder.layers.0.mlp.fc1.lora_B.weight",
            "text_encoder.text_model.encoder.layers.0.mlp.fc1",
        ),
        ("text_encoder_2.x.to_v_lora.down.weight", "text_encoder_2.x.to_v_lora.up.weight", "text_encoder_2.x.v_proj"),
        ("text_encoder.x.to_out_lora.down.weight", "text_encoder.x.to_out_lora.up.weight", "text_encoder.x.out_proj"),
    ],
)
def test_names_of_every_age(tmp_path: Path, down: str, up: str, name: str) -> None:
    adapter = load(kohya_file(tmp_path / "a.safetensors", {down: DOWN, up: UP}))
    assert (adapter.format, list(adapter.modules)) == ("diffusers", [name])
    module = adapter.modules[name]
    assert module.scale == 1.0 and torch.equal(module.up, UP) and torch.equal(module.down, DOWN)


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        pytest.param({"r": 2, "lora_alpha": 6}, 3.0, id="alpha / r"),
        pytest.param({"r": 2, "lora_alpha": 6, "use_rslora": True}, 6 / math.sqrt(2), id="rsLoRA"),
        pytest.param({"r": 8, "lora_alpha": 8, "rank_pattern": {"a.to_q": 2}}, 4.0, id="rank_pattern without alpha"),
        pytest.param({"r": 2, "lora_alpha": 8, "alpha_pattern": {"^a\\.to_q": 1}}, 0.5, id="alpha_pattern"),
    ],
)
def test_metadata_gives_the_scale(tmp_path: Path, fields: dict, scale: float) -> None:
    metadata = {f"unet.{key}": value for key, value in fields.items()}
    assert load(written(tmp_path, metadata=metadata)).modules["unet.a.to_q"].scale == scale


@pytest.mark.parametrize("component", ["transformer_2", "controlnet", "prior", "text_encoder_4"])
def test_every_model_of_a_pipeline_keeps_its_name(tmp_path: Path, component: str) -> None:
    name = f"{component}.blocks.0.attn1.to_q"
    adapter = load(written(tmp_path, name))
    assert (adapter.format, list(adapter.modules)) == ("diffusers", [name])
    assert list(load(save(adapter, tmp_path / "again.safetensors")).modules) == [name]


def test_metadata_of_another_component_says_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, metadata={"text_encoder.r": 4, "text_encoder.lora_alpha": 1})
    assert load(path).modules["unet.a.to_q"].scale == 1.0


def test_alpha_and_bias_are_read(tmp_path: Path) -> None:
    module = load(written(tmp_path, alpha=torch.tensor(3.0), lora_B__bias=normal(6, seed=4))).modules["unet.a.to_q"]
    assert module.scale == 1.5 and torch.equal(module.bias, normal(6, seed=4))


@pytest.mark.parametrize("scale", [1.0, 0.125, -3.0, 0.3, 0.0, 96.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_scale_is_folded_into_the_factors(tmp_path: Path, scale: float, dtype: torch.dtype) -> None:
    up, down, bias = normal(6, 2, dtype=dtype), normal(2, 5, dtype=dtype), normal(6, dtype=dtype)
    adapter = Adapter("diffusers", {"unet.a": Module("unet.a", up, down, scale, bias=bias)})
    path = save(adapter, tmp_path / "a.safetensors")
    tensors = load_file(path)
    assert sorted(tensors) == ["unet.a.lora_A.weight", "unet.a.lora_B.bias", "unet.a.lora_B.weight"]
    again = load(path).modules["unet.a"]
    assert again.scale == 1.0 and again.up.dtype == again.down.dtype == dtype
    # a power of two costs nothing, another scale one rounding of `up` (and of the bias)
    rounding = 0.0 if math.frexp(scale)[0] in (0.5, 0.0) else torch.finfo(dtype).eps / 2
    exact = update(adapter.modules["unet.a"])
    assert ((update(again) - exact).abs() <= rounding * abs(scale) * (up.double().abs() @ down.double().abs())).all()
    assert ((again.bias.double() - scale * bias.double()).abs() <= rounding * (scale * bias.double()).abs()).all()


@pytest.mark.parametrize("lowest", [-1.0, 2.0**-9], ids=["both signs", "positive"])
@pytest.mark.parametrize(("large", "small"), [("up", "down"), ("down", "up")])
def test_a_small_factor_is_not_scaled_into_the_subnormal_numbers(large: str, small: str, lowest: float) -> None:
    """alpha 1, rank 128 and float16: half of 2^-7 on a factor of order 1e-4 would cost it bits."""
    factors = {"up": normal(6, 2), "down": normal(2, 5)}
    factors[large][0, 0] = lowest
    factors[large] = factors[large] if lowest < 0 else factors[large].abs()
    factors = {large: factors[large].half(), small: (factors[small] * 1e-4).half()}
    module = Module("unet.a", **factors, scale=2.0**-7)
    assert torch.equal(update(folded(module)), update(module))
    assert torch.equal(getattr(folded(module), small), factors[small])


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_equal_ranks_need_no_metadata_and_stale_metadata_goes(tmp_path: Path) -> None:
    modules = {name: Module(name, UP, DOWN, 0.5) for name in ("unet.a", "text_encoder.b")}
    adapter = Adapter("diffusers", modules, metadata={KEY: '{"unet.r": 9}', "who": "me"})
    assert header(save(adapter, tmp_path / "a.safetensors")) == {"format": "pt", "who": "me"}


def test_mixed_ranks_are_spelled_out_for_every_component(tmp_path: Path) -> None:
    names = ("unet.proj_out", "unet.b.proj_out", "text_encoder.text_model.c")
    modules = {name: Module(name, normal(6, r), normal(r, 5), 2.0) for name, r in zip(names, (3, 2, 4), strict=True)}
    path = save(Adapter("diffusers", modules), tmp_path / "a.safetensors")
    fields = json.loads(header(path)[KEY])
    assert fields["unet.r"] == fields["unet.lora_alpha"] == 3
    assert fields["unet.rank_pattern"] == fields["unet.alpha_pattern"] == {r"^b\.proj_out": 2}
    assert fields["unet.target_modules"] == r"proj_out|b\.proj_out"
    assert fields["text_encoder.target_modules"] == r"(?:.*\.)?(?:c)"
    assert {name: (module.rank, module.scale) for name, module in load(path).modules.items()} == {
        "unet.proj_out": (3, 1.0),
        "unet.b.proj_out": (2, 1.0),
        "text_encoder.text_model.c": (4, 1.0),
    }


@pytest.mark.parametrize(
    ("metadata", "more", "problem"),
    [
        ({"unet.r": 3, "unet.lora_alpha": 3}, {}, "rank 2, but lora_adapter_metadata says 3"),
        ({"unet.r": 2, "unet.use_dora": True}, {}, "unet.use_dora"),
        ({"unet.r": 2}, {"alpha": torch.tensor(1.0)}, "an alpha tensor beside"),
        ({"unet.r": 0}, {}, "expected a positive integer"),
        ([], {"lora_B__scale": normal(2)}, "not a tensor that lorafold knows"),
        ([1], {}, "not a JSON object"),
        (None, {"lora__down__weight": normal(2, 5)}, "the same part of the same layer as"),
        (None, {"lora_A__b__weight": normal(2, 5)}, "the same part of the same layer as"),
        (None, {"lora_B__bias": normal(5)}, "shape (5,), expected (6,)"),
        (None, {"lora_magnitude_vector": normal(6)}, "DoRA"),
    ],
)
def test_refused(tmp_path: Path, metadata: dict | list | None, more: dict, problem: str) -> None:
    with pytest.raises(LorafoldError) as caught:
        load(written(tmp_path, metadata=metadata, **more))
    assert problem in str(caught.value) and caught.value.path is not None


def test_parts_without_an_adapters_name_are_no_second_adapter(tmp_path: Path) -> None:
    tensors = {
        "unet.a.lora_A.default.weight": normal(2, 5),
        "unet.a.lora_B.default.weight": normal(6, 2),
        "unet.a.alpha": torch.tensor(3.0),
    }
    assert load(kohya_file(tmp_path / "a.safetensors", tensors)).modules["unet.a"].scale == 1.5


def test_two_adapters_in_one_file_are_refused(tmp_path: Path) -> None:
    tensors = {
        f"unet.{name}.lora_{x}.{name}.weight": t for name in "ab" for x, t in (("A", normal(2, 5)), ("B", normal(6, 2)))
    }
    with pytest.raises(LorafoldError, match="holds 2 adapters: a, b"):
        load(kohya_file(tmp_path / "a.safetensors", tensors))


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"name": "unet.e", "kind": "embedding"}, "cannot hold an embedding"),
        ({"name": "down_blocks.0"}, "no component of a pipeline in front"),
    ],
)
def test_what_a_file_cannot_hold_is_not_written(tmp_path: Path, parts: dict, problem: str) -> None:
    module = Module(**{"up": UP, "down": DOWN, "scale": 1.0, **parts})
    with pytest.raises(LorafoldError, match=problem):
        save(Adapter("diffusers", {module.name: module}), tmp_path / "a.safetensors")


def test_additive_tensors_are_not_written(tmp_path: Path) -> None:
    adapter = Adapter("diffusers", {"unet.a": Module("unet.a", UP, DOWN, 1.0)}, deltas={"unet.a.diff_b": normal(6)})
    with pytest.raises(LorafoldError, match="LoRA factors only"):
        save(adapter, tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("base_model.model.unet.a.lora_A.weight", "peft"),
        ("transformer.a.lora_down.weight", "kohya"),
        ("diffusion_model.a.lora_A.weight", "comfyui"),
        ("diffusion_model.a.lora_down.weight", "kohya"),
    ],
)
def test_other_formats_are_told_apart(key: str, form: str) -> None:
    from lorafold.adapters import FORMATS

    assert [name for name, known in FORMATS.items() if known.detect([key])] == [form]
