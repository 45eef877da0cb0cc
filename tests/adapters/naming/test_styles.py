"""Names as the tools spell them, and the architectures that they tell."""

from __future__ import annotations

import pytest

from lorafold.adapters.naming import (
    ARCHITECTURES,
    STYLES,
    Naming,
    canonical,
    has_proportions,
    has_whole_depth,
    has_width,
    name_of,
    namings,
    nearest,
    places,
)

# In PEFT's names nothing tells two text encoders of one pipeline apart.
_SHARED = {("sdxl", "peft"), ("sd3", "peft"), ("sdxl", "bare"), ("sd3", "bare")}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_name_is_one_layer_and_back(architecture: str, style: str) -> None:
    """No two layers share a spelling, underscores or not."""
    table = places(architecture, style)
    assert all(name_of(architecture, style, place) == name for name, place in table.items())
    components = [part for part in ARCHITECTURES[architecture]().components if STYLES[style].prefix in part.prefixes]
    entries = [entry for component in components for entry in component.entries]
    layers = len(entries) if STYLES[style].original else sum(len(entry.diffusers) for entry in entries)
    assert len(table) == layers or (architecture, style) in _SHARED


@pytest.mark.parametrize(
    ("name", "architecture", "style", "expected"),
    [
        ("lora_te_text_model_encoder_layers_11_self_attn_q_proj", "sd", "kohya",
         ("text_encoder.text_model.encoder.layers.11.self_attn.q_proj",)),
        ("lora_unet_output_blocks_2_2_conv", "sdxl", "kohya", ("unet.up_blocks.0.upsamplers.0.conv",)),
        ("diffusion_model.output_blocks.2.1.conv", "sd", "comfyui", ("unet.up_blocks.0.upsamplers.0.conv",)),
        ("lora_unet_middle_block_2_emb_layers_1", "sdxl", "kohya", ("unet.mid_block.resnets.1.time_emb_proj",)),
        ("lora_unet_joint_blocks_23_context_block_attn_qkv", "sd3", "kohya",
         tuple(f"transformer.transformer_blocks.23.attn.add_{part}_proj" for part in "qkv")),
        ("lora_te3_encoder_block_23_layer_0_SelfAttention_o", "flux", "kohya",
         ("text_encoder_2.encoder.block.23.layer.0.SelfAttention.o",)),
        ("lora_te2_encoder_block_0_layer_0_SelfAttention_o", "flux", "onetrainer",
         ("text_encoder_2.encoder.block.0.layer.0.SelfAttention.o",)),
        ("transformer.transformer_blocks.3.attn.add_k_proj", "sd3", "diffusers",
         ("transformer.transformer_blocks.3.attn.add_k_proj",)),
        ("text_encoders.t5xxl.transformer.encoder.block.0.layer.1.DenseReluDense.wo", "sd3", "comfyui",
         ("text_encoder_3.encoder.block.0.layer.1.DenseReluDense.wo",)),
    ],
)  # fmt: skip
def test_canonical_names(name: str, architecture: str, style: str, expected: tuple[str, ...]) -> None:
    assert canonical(architecture, style, name) == expected


def test_names_tell_the_architecture() -> None:
    def architectures(*names: str) -> set[str]:
        return {naming.architecture for naming in namings(names)}

    assert architectures("lora_unet_input_blocks_4_1_proj_in", "lora_te2_text_projection") == {"sdxl"}
    assert architectures("transformer.transformer_blocks.0.attn.to_q") == {
        "flux",
        "sd3",
        "flux2",
        "chroma",
        "qwen",
        "hunyuan",
    }
    assert architectures("transformer.transformer_blocks.38.attn.to_q") == {"qwen"}
    assert architectures("transformer.transformer_blocks.0.attn2.to_q") == {"sd3", "ltx", "others"}
    assert architectures("diffusion_model.layers.0.attention.qkv") == {"zimage", "lumina2"}
    assert architectures("lora_unet_blocks_0_self_attn_q") == {"wan"}
    assert architectures("transformer_2.blocks.0.attn1.to_q", "transformer.blocks.0.attn1.to_q") == {"wan"}
    assert architectures("model.layers.0.self_attn.q_proj") == set()


def test_widths_tell_what_names_leave_open() -> None:
    name = "transformer.transformer_blocks.0.attn.to_k"
    known = {
        n: {naming.architecture for naming in namings([name]) if has_width(naming, {name: (7, n)})}
        for n in (1536, 6144, 7)
    }
    assert known == {1536: {"sd3"}, 6144: {"flux2"}, 7: set()}


def test_the_last_block_tells_models_of_one_width_apart() -> None:
    def architectures(*numbers: int) -> set[str]:
        names = [f"transformer.transformer_blocks.{i}.attn.to_q" for i in numbers]
        return {naming.architecture for naming in namings(names) if has_whole_depth(naming, names)}

    assert architectures(0, 18) == {"flux", "chroma"} and architectures(19) == {"hunyuan"}
    assert architectures(59) == {"qwen"} and architectures(0, 1) == set()


@pytest.mark.parametrize(
    ("name", "style", "shapes"),
    [
        ("diffusion_model.single_blocks.0.linear1", "comfyui", {"flux": (21, 3), "flux2": (27, 3)}),
        ("lora_unet_double_blocks_0_img_mlp_2", "kohya", {"chroma": (3, 12), "flux2": (3, 9)}),
        ("diffusion_model.layers.0.attention.qkv", "comfyui", {"zimage": (9, 3), "lumina2": (5, 3)}),
    ],
)
def test_proportions_tell_models_of_any_width_apart(name: str, style: str, shapes: dict) -> None:
    for architecture in shapes:
        fits = {other: has_proportions(Naming(architecture, style), {name: shape}) for other, shape in shapes.items()}
        assert fits == {other: other == architecture for other in shapes}


def test_the_nearest_naming_and_what_it_lacks() -> None:
    (naming,), unknown = nearest(["lora_unet_blocks_0_ffn_0", "lora_unet_blocks_40_ffn_0"])
    assert (naming.architecture, unknown) == ("wan", ["lora_unet_blocks_40_ffn_0"])
    namings_of_some, _ = nearest(["transformer.single_transformer_blocks.0.proj_mlp", "transformer.x"])
    assert [naming.architecture for naming in namings_of_some] == ["flux", "chroma", "hunyuan"]
