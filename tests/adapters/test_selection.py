"""Layers in or out by name: what patterns mean, and that five pipelines mean the same."""

from __future__ import annotations

import logging

import pytest
import torch

import lorafold
from lorafold.adapters import Adapter
from lorafold.adapters.selection import read_selection
from lorafold.common.errors import LorafoldError
from tests.adapters.checkpoints.models import LLAMA, changed, llama, model_folder
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter
from tests.oracles import relative, update

UNET_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
UNET_CONV = "lora_unet_mid_block_resnets_0_conv1"
TE1_UP = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
TE2_Q = "lora_te2_text_model_encoder_layers_10_self_attn_q_proj"
NAMES = (UNET_Q, UNET_CONV, TE1_UP, TE2_Q)
KEY = f"{TE1_UP}.diff_b"


def adapter() -> Adapter:
    found = random_adapter("kohya", dict.fromkeys(NAMES, (6, 5)), 2)
    return Adapter("kohya", found.modules, {KEY: torch.ones(6)})


@pytest.mark.parametrize(
    ("layers", "exclude", "kept"),
    {
        "a part of names": ("attn", None, {UNET_Q, TE2_Q}),
        "components that prefixes stand for": (None, "text_encoder", {UNET_Q, UNET_CONV}),
        "one of several text encoders": (None, "text_encoder_2", {UNET_Q, UNET_CONV, TE1_UP, KEY}),
        "a kind of layer, with its bias": ("mlp up", None, {TE1_UP, KEY}),
        "both": ("unet", "conv", {UNET_Q}),
        "several": (["conv", "attn"], ("mid.block",), {UNET_Q, TE2_Q}),
        "stars as of files": ("layers.1*", None, {TE2_Q}),
        "stars around": ("*attn*", None, {UNET_Q, TE2_Q}),
        "stars as of expressions": (r"layers_\d*_self|resnets[_0]*conv", None, {TE2_Q, UNET_CONV}),
    }.values(),
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_what_patterns_mean(layers, exclude, kept, caplog):
    (found,), left_out = read_selection(layers, exclude).of([adapter()])
    assert {*found.modules, *found.deltas} == kept
    assert set(left_out) == {*NAMES, KEY} - kept
    assert f"leaves out {len(left_out)} of 5 layers" in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize(
    ("layers", "exclude", "message"),
    {
        "misspelt": ("attnetion", None, "layers=attnetion matches none of 5 layers.*Names have attention"),
        "like nothing": ("attn", "zzz", "exclude=zzz matches none.*They are called 'lora_unet_down"),
        "nothing left": (None, ["unet", "te"], r"exclude=\[unet,te\] leaves none of 5 layers"),
        "no text": (3, None, "layers=3, expected a part of layers' names"),
        "an empty text": (None, [""], r"exclude=\[''\], expected"),
        "no expression": ("attn(", None, r"layers\['attn\('\] is not a regular expression"),
        "a slow one": ("(a+)+$", None, "could take forever"),
    }.values(),
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_mistakes_are_named(layers, exclude, message):
    with pytest.raises(LorafoldError, match=message):
        read_selection(layers, exclude).of([adapter()])


def test_nothing_is_said_where_nothing_is_asked_for_or_left_out(caplog):
    given = adapter()
    assert read_selection(None, None).of([given])[0][0] is given
    assert read_selection(["unet", "te"], None).of([given])[1] == ()
    assert not caplog.records


def test_an_adapter_of_which_nothing_is_left():
    other = random_adapter("kohya", {UNET_CONV: (6, 5)}, 2, path="conv.safetensors")
    with pytest.raises(LorafoldError, match=r"conv.safetensors: exclude=conv leaves none of its 1 layers"):
        lorafold.merge([adapter(), other], exclude="conv")


def test_whole_modules_that_are_left_out_are_not_announced():
    extras = {"base_model.model.classifier.weight": torch.ones(2, 2), "base_model.model.score.weight": torch.ones(2, 2)}
    config = {"modules_to_save": ["classifier", "score"]}
    given = random_adapter("peft", {"layers.0.attn": (4, 4)}, 1)
    given = Adapter("peft", given.modules, extras=extras, config=config)
    (found,), _ = read_selection(None, "score").of([given])
    assert (found.config["modules_to_save"], list(found.extras)) == (["classifier"], list(extras)[:1])
    (found,), _ = read_selection("attn", None).of([given])
    assert (found.config["modules_to_save"], dict(found.extras)) == (None, {})


def test_pipelines_of_adapters_leave_the_same_out(caplog):
    caplog.set_level(logging.ERROR)
    given, asked = adapter(), {"exclude": "text_encoder"}
    results = (
        lorafold.merge([given, given], weights=[0.5, 0.5], rank="max", **asked),
        lorafold.resize(given, rank=2, **asked),
        lorafold.convert(given, format="kohya", **asked),
    )
    for result in results:
        assert list(result.adapter.modules) == [UNET_Q, UNET_CONV] and not result.adapter.deltas
        assert result.metrics()["summary"]["left_out"] == {"selection": [TE1_UP, TE2_Q, KEY]}
        assert relative(update(result.adapter.modules[UNET_Q]), update(given.modules[UNET_Q])) < 1e-12
    assert "left_out" not in lorafold.resize(given, rank=2).metrics()["summary"]


def test_whole_models_leave_the_same_out(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    base, tuned = model_folder(tmp_path / "b", llama()), model_folder(tmp_path / "t", changed(llama(), rank=2))
    names = {key.removesuffix(".weight") for key in LLAMA}
    mlps = {name for name in names if ".mlp." in name}
    assert names > mlps > set()
    extracted = lorafold.extract(base, tuned, rank=2, layers="mlp")
    assert set(extracted.adapter.modules) == mlps
    left_out = {f"{name}.weight" for name in names - mlps}
    assert left_out <= set(extracted.metrics()["summary"]["left_out"]["selection"])
    whole = lorafold.extract(base, tuned, rank=2).adapter
    model = lorafold.fuse(base, [whole], exclude="mlp").write(tmp_path / "f")
    assert {tensor.name for tensor in model.tensors} == left_out
    assert set(model.metrics()["summary"]["left_out"]["selection"]) == mlps
