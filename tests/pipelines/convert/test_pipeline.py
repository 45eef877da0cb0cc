"""The conversion and what it says of itself: every update as it was, through files, in dense float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.adapters import Adapter, Module, load, save
from lorafold.adapters.files.webui_hashes import with_hashes
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.convert.pipeline import Link, convert
from tests.builders import DEMO, Source
from tests.builders import one_thread as one_thread
from tests.oracles import relative, update

DOUBLE, SINGLE = "lora_unet_double_blocks_0", "lora_unet_single_blocks_3"
FLUX = {
    f"{DOUBLE}_img_attn_qkv": (12, 4),
    f"{DOUBLE}_img_mlp_0": (16, 4),
    f"{SINGLE}_linear1": (14, 2),
    "lora_te1_text_model_encoder_layers_1_mlp_fc1": (8, 6),
}
SD1 = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (8, 768),
    "lora_unet_mid_block_attentions_0_proj_in": (8, 8),
    "lora_te_text_model_encoder_layers_1_mlp_fc1": (8, 6),
}


def adapter(shapes, scale=0.5, path=None, **parts) -> Adapter:
    """Ranks 2, 3, 4, ...; a power of two as scale costs no bit anywhere."""
    source = Source(1)
    modules = {}
    for rank, (name, (m, n)) in enumerate(shapes.items(), 2):
        modules[name] = Module(name, source.normal(m, rank), source.normal(rank, n), scale)
    return Adapter("kohya", modules, path=path, **parts)


def stacked(modules, names):
    return torch.cat([update(modules[name]) for name in names])


@pytest.mark.parametrize("shapes", [FLUX, SD1], ids=["flux", "sd1"])
def test_every_update_is_what_it_was(shapes, tmp_path):
    """There through a file, and back through another; the parts of a layer are its rows, one after the other."""
    before = adapter(shapes)
    there = convert(before, format="diffusers")
    other = load(save(there.adapter, tmp_path / "there.safetensors"))
    back = convert(other, format="kohya")
    again = load(save(back.adapter, tmp_path / "back.safetensors"))
    for result, first, second in ((there, before, other), (back, other, again)):
        assert {name for link in result.links for name in link.before} == set(first.modules)
        assert {name for link in result.links for name in link.after} == set(second.modules)
        for link in result.links:
            assert relative(stacked(second.modules, link.after), stacked(first.modules, link.before)) < 1e-14
    assert set(again.modules) == set(before.modules)


def test_what_became_of_the_layers():
    result = convert(adapter(FLUX), format="diffusers")
    found = {link.before[0]: (link.action, link.after) for link in result.links}
    block = "transformer.transformer_blocks.0"
    assert found[f"{DOUBLE}_img_attn_qkv"] == ("split", tuple(f"{block}.attn.to_{part}" for part in "qkv"))
    assert found[f"{DOUBLE}_img_mlp_0"] == ("renamed", (f"{block}.ff.net.0.proj",))
    assert found[f"{SINGLE}_linear1"][0] == "split" and len(found[f"{SINGLE}_linear1"][1]) == 4
    metrics = result.metrics()
    assert metrics["summary"]["modules"] == [4, 9]
    assert metrics["summary"]["actions"] == {"kept": 0, "renamed": 2, "split": 2, "fused": 0}
    norm = math.sqrt(sum(float(update(module).square().sum()) for module in adapter(FLUX).modules.values()))
    assert metrics["summary"]["norm"] == pytest.approx([norm, norm], rel=1e-12)
    back = convert(result.adapter, format="kohya").metrics()
    assert back["summary"]["actions"] == {"kept": 0, "renamed": 2, "split": 0, "fused": 2}
    assert back["modules"][0]["before"][0] == {"name": f"{block}.attn.to_q", "shape": [4, 4], "rank": 2}


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [("a", "a", "kept"), ("a", "b", "renamed"), ("a", "xyz", "split"), ("xyz", "a", "fused")],
)
def test_actions(before, after, action):
    assert Link(tuple(before), tuple(after)).action == action


def test_what_is_in_this_format_already_is_kept():
    before = load(DEMO[0])
    result = convert(before, format="peft")
    assert result.adapter.modules.keys() == before.modules.keys()
    assert result.metrics()["summary"]["actions"] == {"kept": 36, "renamed": 0, "split": 0, "fused": 0}


def test_rank_and_alpha_are_stated_as_they_are():
    """A scale that is kept makes an alpha of its own."""
    same = {name: shape for name, shape in SD1.items() if "unet" in name}
    one_rank = adapter(same)
    modules = {name: replace(m, up=m.up[:, :2], down=m.down[:2]) for name, m in one_rank.modules.items()}
    stale = with_hashes({}, {"ss_network_dim": "7", "ss_sd_model_name": "x"})
    metadata = convert(replace(one_rank, modules=modules, metadata=stale), format="kohya").adapter.metadata
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("2", "1")
    assert metadata["ss_sd_model_name"] == "x"
    assert "sshs_model_hash" not in metadata


@pytest.mark.parametrize(
    ("form", "words"),
    [(None, "format=None, expected one of"), ("difusers", "Did you mean 'diffusers'?"), ("kohya", "not a layer of")],
)
def test_a_bad_wish_is_named(form, words):
    with pytest.raises(LorafoldError, match=words):
        convert(DEMO[0], format=form)


def test_it_is_there_from_python():
    assert lorafold.convert is convert
