"""Names as the tools spell them, and the architectures that they tell."""

from __future__ import annotations

import pytest

from lorafold.adapters.naming import ARCHITECTURES, STYLES, canonical, hinted, name_of, namings, nearest, places

# In PEFT's names nothing tells two text encoders of one pipeline apart.
_SHARED = {("sdxl", "peft"), ("sd3", "peft")}


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
    assert architectures("transformer.transformer_blocks.0.attn.to_q") == {"flux", "sd3"}
    assert architectures("transformer.transformer_blocks.30.attn.to_q") == {"sd3"}
    assert architectures("lora_unet_blocks_0_self_attn_q") == {"wan"}
    assert architectures("model.layers.0.self_attn.q_proj") == set()


def test_widths_tell_what_names_leave_open() -> None:
    name = "transformer.transformer_blocks.0.attn.to_k"
    found = {naming.architecture: [hinted(naming, {name: n}) for n in (3072, 1536, 7)] for naming in namings([name])}
    assert found == {"flux": [True, False, False], "sd3": [False, True, False]}


def test_the_nearest_naming_and_what_it_lacks() -> None:
    naming, unknown = nearest(["lora_unet_blocks_0_ffn_0", "lora_unet_blocks_40_ffn_0"])
    assert (naming.architecture, unknown) == ("wan", ["lora_unet_blocks_40_ffn_0"])
