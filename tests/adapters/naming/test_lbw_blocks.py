"""Blocks by name: every tool's names of a layer lie in the same block, and presets are those of LoRA Block Weight."""

from __future__ import annotations

import re

import pytest

from lorafold.adapters.naming import STYLES, places
from lorafold.adapters.naming.lbw_blocks import BLOCKS, LAYOUTS, block_of, preset, presets

# The values of the original, a digit per block of the list of 17: BASE IN01 02 04 05 07 08 M00 OUT03 ... OUT11.
ORIGINAL = {
    "NONE": "00000000000000000",
    "ALL": "11111111111111111",
    "INS": "11110000000000000",
    "IND": "10001110000000000",
    "INALL": "11111110000000000",
    "MIDD": "10001111111100000",
    "OUTD": "10000000111100000",
    "OUTS": "10000000000011111",
    "OUTALL": "10000000111111111",
}
ENDS = re.compile(r"time_embed|label_emb|^out\.")


def expected(architecture, component, original):
    """By the path in the original code, in which the blocks are numbered."""
    if component.startswith("text_encoder"):
        return {"text_encoder": "CLIP", "text_encoder_2": "T5"}[component] if architecture == "flux" else "BASE"
    part, number = [*original.split("."), ""][:2]
    numbered = {"input_blocks": "IN", "output_blocks": "OUT", "double_blocks": "D", "single_blocks": "S"}
    if part in numbered:
        return f"{numbered[part]}{int(number):02}"
    if part == "middle_block":
        return "M00"
    if architecture == "flux":
        return "OUT" if part == "final_layer" else "IN"
    assert ENDS.search(original)
    return None


@pytest.mark.parametrize("architecture", BLOCKS)
@pytest.mark.parametrize("style", STYLES)
def test_every_layer_lies_in_the_block_of_its_original_name(architecture, style):
    for name, place in places(architecture, style).items():
        if style in ("peft", "bare") and place.entry.original == "text_projection":
            continue  # no word of its model
        block = block_of(name, architecture)
        if style in ("peft", "bare") and place.component == "text_encoder_3":
            continue
        assert block == expected(architecture, place.component, place.entry.original), name
        assert block is None or block in BLOCKS[architecture]


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("lora_unet_down_blocks_0_resnets_0_norm1.w_norm", "IN01"),
        ("lora_unet_output_blocks_5_0_in_layers_0.b_norm", "OUT05"),
        ("lora_unet_conv_in.diff_b", "IN00"),
        ("lora_te_text_model_encoder_layers_0_layer_norm1.w_norm", "BASE"),
        ("lora_unet_conv_out.diff_b", None),
        ("lora_unet_conv_norm_out.w_norm", None),
    ],
)
def test_tensors_beside_the_layers(name, block):
    assert block_of(name, "sd") == block


def test_each_block_of_a_unet_has_layers():
    for architecture in ("sd", "sdxl"):
        found = {block_of(name, architecture) for name in places(architecture, "diffusers")}
        assert found - {None} == set(BLOCKS[architecture])


def test_the_lists_are_of_blocks_that_exist():
    assert sorted(LAYOUTS) == [12, 17, 20, 26, 57, 61]
    for layout in LAYOUTS.values():
        assert set(layout.blocks) <= set(BLOCKS[layout.architecture])
    # the short lists: what has cross-attention
    for architecture, count in (("sd", 17), ("sdxl", 12)):
        attention = {block_of(n, architecture) for n in places(architecture, "diffusers") if "attn2" in n}
        assert set(LAYOUTS[count].blocks) == attention | {"BASE"}


@pytest.mark.parametrize("name", ORIGINAL)
def test_presets_have_the_values_of_the_original(name):
    values = preset(name, "sd")
    assert "".join(f"{values[block]:.0f}" for block in LAYOUTS[17].blocks) == ORIGINAL[name]


@pytest.mark.parametrize("architecture", BLOCKS)
def test_presets_give_every_block_a_factor(architecture):
    for name in presets(architecture):
        assert list(preset(name, architecture)) == list(BLOCKS[architecture])
    assert set(preset("ALL0.5", architecture).values()) == {0.5}
