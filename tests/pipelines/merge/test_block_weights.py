"""Block weights: what may be given, and that each acts once on the update of its block, whatever the file's names."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.adapters.conversion.convert import convert
from lorafold.adapters.naming.lbw_blocks import LAYOUTS
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.block_weights import read_block_weights
from tests.builders import Source, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import relative, updates

# A layer in each of some blocks; None: outside of the blocks.
SD = {
    "lora_te_text_model_encoder_layers_0_mlp_fc1": "BASE",
    "lora_unet_conv_in": "IN00",
    "lora_unet_down_blocks_0_attentions_1_proj_in": "IN02",
    "lora_unet_down_blocks_0_downsamplers_0_conv": "IN03",
    "lora_unet_down_blocks_2_attentions_0_proj_in": "IN07",
    "lora_unet_mid_block_attentions_0_proj_in": "M00",
    "lora_unet_up_blocks_0_upsamplers_0_conv": "OUT02",
    "lora_unet_up_blocks_3_attentions_2_proj_in": "OUT11",
    "lora_unet_time_embedding_linear_1": None,
}
SDXL = {
    "lora_te2_text_model_encoder_layers_0_mlp_fc1": "BASE",
    "lora_unet_input_blocks_3_0_op": "IN03",
    "lora_unet_input_blocks_4_1_proj_in": "IN04",
    "lora_unet_middle_block_1_proj_in": "M00",
    "lora_unet_output_blocks_2_1_proj_in": "OUT02",
    "lora_unet_output_blocks_5_1_proj_in": "OUT05",
    "lora_unet_output_blocks_8_0_in_layers_2": "OUT08",
    "lora_unet_label_emb_0_0": None,
}
FLUX = {
    "lora_te1_text_model_encoder_layers_0_mlp_fc1": "CLIP",
    "lora_unet_txt_in": "IN",
    "lora_unet_double_blocks_3_img_mlp_0": "D03",
    "lora_unet_double_blocks_18_txt_attn_qkv": "D18",
    "lora_unet_single_blocks_0_linear1": "S00",
    "lora_unet_single_blocks_37_linear2": "S37",
    "lora_unet_final_layer_linear": "OUT",
}
LAYERS = {"sd": SD, "sdxl": SDXL, "flux": FLUX}
VERSIONS = {"sd": "sd_v1", "sdxl": "sdxl_base_v1-0", "flux": "flux1"}
# By which Flux 1 is known from Flux 2.
PROPORTIONS = {"3_img_mlp_0": (24, 6), "0_linear1": (21, 3), "37_linear2": (6, 30)}
EXACT = {"rank": "max", "subspace_weight": 0}
LLM = {"model.layers.0.self_attn.q_proj": (6, 5), "model.layers.1.self_attn.q_proj": (6, 5)}


def pair(architecture):
    shapes = {name: PROPORTIONS.get(name.rpartition("_blocks_")[2], (21, 6)) for name in LAYERS[architecture]}
    adapters = [random_adapter("kohya", shapes, r, seed=r, scale=0.5) for r in (1, 2)]
    return [replace(a, metadata={"ss_base_model_version": VERSIONS[architecture]}) for a in adapters]


def by_hand(adapters, weights, factors):
    """Σ_i w_i f_i ΔW_i, each module by itself; `factors` are per adapter by module."""
    deltas = [updates(adapter) for adapter in adapters]
    return {
        name: sum(w * f[name] * delta[name] for w, f, delta in zip(weights, factors, deltas, strict=True))
        for name in deltas[0]
    }


def same(found, expected):
    assert found.keys() == expected.keys()
    return all(relative(found[name], expected[name]) < 1e-9 for name in expected)


def random_numbers(count):
    return [round(value, 3) for value in Source(count).normal(count).tolist()]


@pytest.mark.parametrize("count", LAYOUTS)
def test_numbers_multiply_the_weight_of_their_block_once(count):
    layout, numbers = LAYOUTS[count], random_numbers(count)
    adapters, blocks = pair(layout.architecture), LAYERS[layout.architecture]
    assert min(numbers) < 0  # the sign is kept
    values = dict(zip(layout.blocks, numbers, strict=True))
    factors = {name: 1.0 if block is None else values.get(block, layout.rest) for name, block in blocks.items()}
    found = lorafold.merge(adapters, weights=[0.7, -0.4], block_weights=[None, numbers], **EXACT).adapter
    expected = by_hand(adapters, [0.7, -0.4], [dict.fromkeys(blocks, 1.0), factors])
    assert same(updates(found), expected)
    text = ",".join(map(str, numbers))
    again = lorafold.merge(adapters, weights=[0.7, -0.4], block_weights=[None, text], **EXACT).adapter
    assert same(updates(again), expected)


@pytest.mark.parametrize(
    ("architecture", "name", "on"),
    [
        ("sd", "INS", {"BASE", "IN00", "IN02", "IN03", None}),
        ("sd", "MIDD", {"BASE", "IN07", "M00", "OUT02", None}),
        ("sd", "NONE", {None}),
        ("sdxl", "OUTALL", {"BASE", "OUT02", "OUT05", "OUT08", None}),
        ("sdxl", "OUTS", {"BASE", "OUT08", None}),
        ("flux", "ALL", {"CLIP", "IN", "D03", "D18", "S00", "S37", "OUT"}),
    ],
)
def test_presets(architecture, name, on):
    adapters, blocks = pair(architecture), LAYERS[architecture]
    found = lorafold.merge(adapters, weights=[1, 1], block_weights=[name, None], **EXACT).adapter
    factors = [{layer: float(block in on) for layer, block in blocks.items()}, dict.fromkeys(blocks, 1.0)]
    assert same(updates(found), by_hand(adapters, [1, 1], factors))


def test_one_entry_for_all_adapters():
    adapters = pair("sd")
    for one in ("OUTALL", [0.5] * 17, {"IN..": 0.3}):
        found = lorafold.merge(adapters, block_weights=one, **EXACT).adapter
        expected = lorafold.merge(adapters, block_weights=[one, one], **EXACT).adapter
        assert same(updates(found), updates(expected))


def test_patterns_are_for_blocks_or_for_names_and_the_first_counts():
    adapters = pair("sd")
    given = {"IN0[0-2]": 0.5, "IN..": -1, "proj_in": 3}
    values = {"IN00": 0.5, "IN02": 0.5, "IN03": -1.0, "IN07": -1.0, "M00": 3.0, "OUT11": 3.0}
    factors = {name: values.get(block, 1.0) for name, block in SD.items()}
    found = lorafold.merge(adapters, weights=[1, 1], block_weights=[given, None], **EXACT).adapter
    assert same(updates(found), by_hand(adapters, [1, 1], [factors, dict.fromkeys(SD, 1.0)]))


def test_patterns_are_for_any_model():
    adapters = [random_adapter("peft", LLM, 2, seed=seed) for seed in range(2)]
    found = lorafold.merge(adapters, weights=[1, 1], block_weights=[{r"layers\.0": 0.25}, None], **EXACT).adapter
    factors = {name: 0.25 if ".0." in name else 1.0 for name in LLM}
    assert same(updates(found), by_hand(adapters, [1, 1], [factors, dict.fromkeys(LLM, 1.0)]))


def test_they_act_on_the_weights_of_a_module():
    adapters = pair("sd")
    options = {"weights": [0.6, 0.4], "module_weights": {"mid_block": [0.2, 0.9]}, **EXACT}
    found = lorafold.merge(adapters, block_weights=[{"M00": -2}, None], **options).adapter
    plain = lorafold.merge(adapters, **options, block_weights=None).adapter
    expected = updates(plain)
    name = "lora_unet_mid_block_attentions_0_proj_in"
    first, second = (updates(adapter)[name] for adapter in adapters)
    expected[name] = -0.4 * first + 0.9 * second
    assert same(updates(found), expected)


@pytest.mark.parametrize("core", ["sum", "ties", "tsv"])
def test_a_merge_is_that_with_such_weights(core):
    options = {"core": core, "rank": 2}
    found = lorafold.merge(pair("sd"), weights=[0.6, 0.4], block_weights=[None, {"OUT..": -0.5}], **options).adapter
    own = [name for name, block in SD.items() if (block or "").startswith("OUT")]
    expected = lorafold.merge([changed(a, only=own) for a in pair("sd")], weights=[0.6, -0.2], **options).adapter
    for name in own:
        assert relative(updates(found)[name], updates(expected)[name]) < 1e-9


@pytest.mark.parametrize("form", ["diffusers", "comfyui"])
@pytest.mark.parametrize("architecture", LAYERS)
def test_names_do_not_matter(architecture, form):
    """kohya's SD, its SDXL in the original code's names, and Flux with fused layers: as in the other tools' names."""
    adapters = pair(architecture)
    if architecture == "sd" and form == "comfyui":
        adapters = [changed(a, only=[name for name in SD if "unet" in name]) for a in adapters]
    count = {"sd": 26, "sdxl": 20, "flux": 61}[architecture]
    given = {"weights": [1, 0.5], "block_weights": [random_numbers(count), None], **EXACT}
    expected = convert(lorafold.merge(adapters, **given).adapter, form)
    renamed = [replace(convert(adapter, form), metadata=adapter.metadata) for adapter in adapters]
    assert same(updates(lorafold.merge(renamed, **given).adapter), updates(expected))


def test_additive_tensors_follow():
    key, other = "lora_unet_up_blocks_3_resnets_0_norm1.w_norm", "lora_unet_conv_out.diff_b"
    deltas = [Source(i).normal(5) for i in range(2)]
    adapters = [replace(a, deltas={key: d, other: d}) for a, d in zip(pair("sd"), deltas, strict=True)]
    found = lorafold.merge(adapters, weights=[1, 1], block_weights=[None, "INALL"]).adapter
    torch.testing.assert_close(found.deltas[key], deltas[0])
    torch.testing.assert_close(found.deltas[other], deltas[0] + deltas[1])


MISTAKES = {
    "an unknown preset": ("OUTAL", r"block_weights='OUTAL' is unknown.*NONE.*Did you mean 'OUTALL'\?"),
    "an unknown preset for one": ([None, "outs"], "block_weights='outs' is unknown"),
    "too few entries": (["INS"], r"expected a preset.* or 2 of these.*'block_weights=\[null,OUTALL\]'"),
    "no entries": ([], "or 2 of these"),
    "a number": (0.5, "block_weights=0.5, expected a preset"),
    "a number for one": ([None, 0.5], "block_weights=0.5, expected a preset"),
    "a list of another length": ([1.0] * 18, "17 or 26 for Stable Diffusion 1 and 2, 12 or 20 for SDXL, 57 or 61 for"),
    "text of another length": ("1,0", r"block_weights='1,0', expected"),
    "text that is no number": ([None, "R," * 16 + "1"], "a finite number per block"),
    "NaN": ([None, [math.nan] * 17], "a finite number per block"),
    "true": ([None, [True] * 17], "a finite number per block"),
    "no factor": ({"IN..": None}, r"block_weights\['IN..'\]=None, expected a finite number"),
    "no regular expression": ({"IN(": 1}, r"block_weights\['IN\('\] is not a regular expression"),
    "a repeated group": ([{"(a+)+$": 1}, None], r"block_weights\['\(a\+\)\+\$'\] could take forever"),
}


@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(given, message):
    with pytest.raises(LorafoldError, match=message) as caught:
        read_block_weights(given, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "given", "message"),
    [
        ("sdxl", [1.0] * 17, "17 block weights are for Stable Diffusion 1 and 2, but this is for SDXL. Give 12 or 20"),
        ("sd", [1.0] * 12, "12 block weights are for SDXL, but this is for Stable Diffusion 1 and 2. Give 17 or 26"),
        ("flux", [1.0] * 26, "but this is for Flux 1. Give 57 or 61 numbers"),
        (
            "flux",
            "INS",
            r"block_weights='INS', which Flux 1 does not have. Choose one of ALL, NONE, ALL0.5, or give 57",
        ),
        ("sdxl", {"IN09": 0}, r"block_weights\['IN09'\] matches none of 8 modules.*blocks BASE, IN03, IN04, M00"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(architecture, given, message):
    with pytest.raises(LorafoldError, match=message):
        lorafold.merge(pair(architecture), block_weights=given)


@pytest.mark.parametrize("given", ["INS", [1.0] * 17])
def test_a_model_without_known_blocks_is_refused(given):
    adapters = [random_adapter("peft", LLM, 2, seed=seed, path=f"a{seed}") for seed in range(2)]
    with pytest.raises(LorafoldError, match=r"a0: model\.layers\.0.*not known to be those of.*by name: 'block_weights"):
        lorafold.merge(adapters, block_weights=[given, None])


def test_names_alone_tell_the_model():
    adapters = [replace(adapter, metadata={}) for adapter in pair("sd")]
    lorafold.merge(adapters, block_weights="INS")
    with pytest.raises(LorafoldError, match="Give 17 or 26 numbers"):
        lorafold.merge(adapters, block_weights=[1.0] * 20)


def test_where_the_names_do_not_tell_the_length_does():
    """Layers that SD and SDXL have in common, of no telling width."""
    shapes = dict.fromkeys(("unet.mid_block.resnets.0.conv1", "unet.conv_in"), (6, 5))
    adapter = random_adapter("diffusers", shapes, 2)
    for count in (17, 20):
        numbers = [0.5] * count
        numbers[LAYOUTS[count].blocks.index("M00")] = 3.0
        found = lorafold.merge([adapter], weights=[1], block_weights=numbers, **EXACT).adapter
        delta = updates(found)["unet.mid_block.resnets.0.conv1"]
        assert relative(delta, 3 * updates(adapter)["unet.mid_block.resnets.0.conv1"]) < 1e-9


@pytest.mark.parametrize(("version", "count"), [("sd_v1", 20), ("sdxl_base_v1-0", 17)])
def test_metadata_tell_the_model_where_names_do_not(version, count):
    adapter = random_adapter("diffusers", {"unet.mid_block.resnets.0.conv1": (6, 5)}, 2)
    pair = [replace(adapter, metadata={"ss_base_model_version": version})] * 2
    with pytest.raises(LorafoldError, match=f"{count} block weights are for"):
        lorafold.merge(pair, block_weights=[1.0] * count)
