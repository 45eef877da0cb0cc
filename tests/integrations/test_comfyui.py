"""The node of ComfyUI, against stand-ins of ComfyUI's functions (`comfyui_stand_ins`)."""

from __future__ import annotations

import inspect
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.integrations.comfyui.choice import choice_of
from lorafold.integrations.comfyui.host import progress
from lorafold.integrations.comfyui.merged import merged
from lorafold.integrations.comfyui.node import MergeLoras
from tests.builders import DEMO, Source, random_adapter
from tests.builders import one_thread as one_thread
from tests.command_lines import ROOT
from tests.integrations.comfyui_stand_ins import Host, Stopped

UNET, TEXT = "lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1"
SHAPES = {UNET: (24, 20), TEXT: (16, 12)}
A, B = "a.safetensors", "styles é (1)/b [x].safetensors"
CHOSEN = {"lora_1": A, "weight_1": 0.8, "lora_2": B, "weight_2": -0.6, "method": "sum", "rank": 0}


def weights(name, seed):
    return {name: Source(seed).normal(*SHAPES[name]).half()}


MODEL, CLIP = weights(UNET, 8), weights(TEXT, 9)


@pytest.fixture
def host(tmp_path, monkeypatch):
    for seed, (name, rank) in enumerate({A: 4, B: 3}.items(), 1):
        adapter = random_adapter("kohya", SHAPES, rank, seed=seed, scale=0.5, dtype=torch.float16)
        lorafold.save(adapter, tmp_path / name)
    host = Host(tmp_path)
    for name, module in host.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return host


def run(node=None, **changes):
    """As ComfyUI runs it."""
    inputs = {"model": MODEL, "clip": CLIP, "strength_model": 1.0, "strength_clip": 1.0, "save_as": "", **CHOSEN}
    with torch.inference_mode():
        return (node or MergeLoras()).apply(**{**inputs, **changes})


def check_close(one, other, base, tolerance=1e-3):
    """Updates are equal to a share of their norm, and the weights in half precision to a share of theirs."""
    for name, weight in base.items():
        first, second = one[name].float(), other[name].float()
        assert (first - second).norm() <= tolerance * second.norm()
        assert (second - weight.float()).norm() > 0.1 * weight.float().norm()


def test_the_sum_at_full_rank_is_one_loader_after_the_other(host):
    chained = host.lora_loader(*host.lora_loader(MODEL, CLIP, A, 0.8), B, -0.6)
    model, clip, report = run()
    check_close(model, chained[0], MODEL)
    check_close(clip, chained[1], CLIP)
    assert report == "a keeps 100 %, b [x] keeps 100 % of its energy; strength: 1 times the weighted sum"


def test_it_merges_outside_inference_mode(host):
    with torch.inference_mode():
        one = merged(choice_of(CHOSEN), progress)
    assert not any(tensor.is_inference() for tensor in one.tensors.values())


def test_strengths_act_on_what_is_merged(host):
    model, clip, _ = run(strength_model=0.5, strength_clip=0.0, weight_1=1.6, weight_2=-1.2)
    check_close(model, run()[0], MODEL)
    assert torch.equal(clip[TEXT], CLIP[TEXT])
    assert run(clip=None)[1] is None


@pytest.mark.parametrize(("method", "same"), [("chosen strength", {}), ("balanced", lorafold.recipe("balanced"))])
def test_a_method_is_that_of_the_command(host, method, same):
    run(method=method, rank=3, weight_1=1.0, weight_2=1.0, save_as="both")
    if same:
        expected = lorafold.merge([host.loras / A, host.loras / B], same, rank=3)
    else:
        expected = lorafold.merge([host.loras / A, host.loras / B], rank=3)
    for name, module in lorafold.load(host.loras / "both.safetensors").modules.items():
        other = expected.adapter.modules[name]
        difference = module.scale * module.up @ module.down - other.scale * other.up @ other.down
        assert difference.norm() <= 2e-3 * (other.scale * other.up @ other.down).norm()


def test_it_merges_again_only_if_files_or_settings_change(host):
    node = MergeLoras()
    run(node)
    run(node, strength_model=0.3, clip=None, save_as="both")
    os.utime(host.loras / A)
    run(node)
    assert host.bars == 1
    run(node, rank=2)
    lorafold.save(random_adapter("kohya", SHAPES, 4, seed=7), host.loras / A)
    run(node, rank=2)
    assert host.bars == 3


def test_comfyui_is_told_what_changes_the_merge(host):
    def identity(**changes):
        linked = {"model": None, "clip": None}  # what ComfyUI gives for links
        return MergeLoras.IS_CHANGED(**linked, **CHOSEN, **changes)

    first = identity()
    os.utime(host.loras / A)
    assert identity() == first == identity(strength_model=0.1, save_as="both", lora_3="None", lora_4=B, weight_4=0)
    assert len({first, identity(lora_3=A), identity(lora_3=A, weight_3=2)}) == 3
    lorafold.save(random_adapter("kohya", SHAPES, 4, seed=7), host.loras / A)
    assert identity() != first


def test_what_is_saved_is_what_is_applied(host):
    model, clip, report = run(save_as="both é.safetensors")
    assert report.endswith("; saved as both é.safetensors") and "both é.safetensors" in host.names()
    loaded = host.lora_loader(MODEL, CLIP, "both é.safetensors", 1.0)
    assert torch.equal(loaded[0][UNET], model[UNET]) and torch.equal(loaded[1][TEXT], clip[TEXT])


def test_a_name_follows_the_settings_and_the_same_merge_is_not_written_twice(host):
    target = host.loras / "both.safetensors"
    run(save_as="both")
    first = target.stat().st_ino
    run(save_as="both")
    assert target.stat().st_ino == first
    run(save_as="both", rank=2)
    assert {module.rank for module in lorafold.load(target).modules.values()} == {2}


@pytest.mark.parametrize("name", ["../x", "a/b", "C:x", "..", ".hidden", "x\ny", "a", "foreign"])
def test_no_other_file_is_touched(host, name):
    for entry in ("foreign.safetensors", "styles é (1)/x.safetensors"):
        (host.loras / entry).write_bytes(b"anything")
    before = {path: path.read_bytes() for path in host.loras.parent.rglob("*") if path.is_file()}
    with pytest.raises(LorafoldError, match=r"is no file name|this node did not make it"):
        run(save_as=name)
    assert {path: path.read_bytes() for path in host.loras.parent.rglob("*") if path.is_file()} == before
    assert host.bars == 0  # before anything is merged


@pytest.mark.parametrize("entry", ["[]", "null", "no json", '{"command": "merge"}'])
def test_what_another_program_says_of_its_file_is_no_leave_to_replace_it(host, entry):
    adapter = random_adapter("kohya", SHAPES, 2)
    adapter.metadata["lorafold"] = entry
    lorafold.save(adapter, host.loras / "both.safetensors")
    with pytest.raises(LorafoldError, match="this node did not make it"):
        run(save_as="both")


def test_a_merge_may_be_merged_again_but_not_over_itself(host):
    run(save_as="both")
    run(lora_1="both.safetensors", save_as="more")
    with pytest.raises(LorafoldError, match="must not be overwritten"):
        run(lora_1="both.safetensors", save_as="both")


def test_without_weights_nothing_is_applied(host):
    assert run(weight_1=0.0, weight_2=0.0)[:2] == (MODEL, CLIP)


def test_what_comfyui_cannot_load_is_refused(host):
    lorafold.save(lorafold.load(DEMO[0]), host.loras / "peft")
    with pytest.raises(LorafoldError, match=r"peft is not for ComfyUI.*format=kohya"):
        run(lora_1="peft/adapter_model.safetensors", weight_2=0.0)


def test_cancelling_stops_it(host):
    host.stop = True
    with pytest.raises(Stopped):
        run()


def test_the_folder_to_copy_holds_the_node_and_its_inputs_fit(host):
    path = ROOT / "examples" / "comfyui" / "__init__.py"
    if not path.exists():
        pytest.skip("not a checkout")
    spec = spec_from_file_location("custom_node", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    (key,) = module.NODE_CLASS_MAPPINGS
    node = module.NODE_CLASS_MAPPINGS[key]
    assert module.NODE_DISPLAY_NAME_MAPPINGS == {key: "Merge LoRAs (lorafold)"}
    inputs = node.INPUT_TYPES()
    assert inputs["required"]["lora_1"][0] == [A, B] and inputs["optional"]["lora_4"][0] == ["None", A, B]
    defaults = {"FLOAT": 1.0, "INT": 32, "STRING": ""}
    values = {
        name: defaults[kind[0]] if isinstance(kind[0], str) and kind[0] in defaults else kind[0][0]
        for group in inputs.values()
        for name, kind in group.items()
    }
    assert {"model", "clip", *CHOSEN} <= values.keys()
    assert len(getattr(node(), node.FUNCTION)(**{**values, "model": MODEL, "clip": CLIP})) == len(node.RETURN_TYPES)
    assert inspect.signature(getattr(node, node.FUNCTION)).parameters.keys() > {"model", "clip", "save_as"}
