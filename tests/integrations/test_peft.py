"""add_merged_adapter: what it puts into a live model is what saving, merging and loading gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.integrations.peft import add_merged_adapter
from tests.builders import one_thread as one_thread
from tests.clients.checking import check_equal_outputs, check_outputs
from tests.clients.listening import complaints
from tests.clients.peft_models import (
    base_model,
    deltas,
    layers,
    outputs,
    peft,
    peft_model,
    saved,
    transformers,
    weighted,
)

# What PEFT calls in transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")

KINDS = pytest.mark.parametrize("kind", ["bert", "llama", "conv"])
NAMES, WEIGHTS = ["first", "second"], [0.7, -0.4]
CASES = [
    pytest.param(torch.float32, {}, id="default"),
    pytest.param(torch.float16, {"rank": 2, "objective": "geodesic", "scale": 0.5}, id="geodesic"),
    pytest.param(torch.bfloat16, {"rank": "max", "core": {"name": "ties", "density": 0.6}}, id="ties"),
]


def factors(model: Any, adapter: str) -> dict[str, torch.Tensor]:
    return peft.get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)


@KINDS
@pytest.mark.parametrize(("dtype", "settings"), CASES)
def test_it_is_the_route_over_files(kind: str, dtype: torch.dtype, settings: dict, tmp_path: Path) -> None:
    model = peft_model(kind, dtype=dtype)
    with complaints("merged") as messages:
        result = add_merged_adapter(model, NAMES, WEIGHTS, "merged", **settings)
    assert messages == []
    merged = lorafold.merge(saved(peft_model(kind, dtype=dtype), tmp_path), weights=WEIGHTS, **settings)
    path = lorafold.save(merged.adapter, tmp_path / "merged")
    model.load_adapter(str(path), "filed", autocast_adapter_dtype=False)
    live, filed = factors(model, "merged"), factors(model, "filed")
    assert live.keys() == filed.keys()
    for key, tensor in live.items():
        assert tensor.dtype == dtype and torch.equal(tensor, filed[key].to(dtype)), key
    configs = [model.peft_config[name] for name in ("merged", "filed")]
    for field in ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "target_modules"):
        assert getattr(configs[0], field) == getattr(configs[1], field), field
    assert result.metrics()["summary"]["converged"] == merged.metrics()["summary"]["converged"]


@pytest.mark.filterwarnings("ignore:`corda_config` specified but will be ignored")
def test_what_the_merge_does_not_change_stays_as_peft_holds_it() -> None:
    """Also what JSON has no word for, so that an adapter of a file could not hold it."""
    from peft.tuners.lora.config import CordaConfig

    model = peft_model("llama")
    model.peft_config["first"].corda_config = CordaConfig(cache_file="activations.pt")
    add_merged_adapter(model, NAMES, WEIGHTS, "merged", rank=2)
    first, merged = (vars(model.peft_config[name]) for name in ("first", "merged"))
    changed = {
        "r",
        "lora_alpha",
        "rank_pattern",
        "alpha_pattern",
        "target_modules",
        "inference_mode",
        "init_lora_weights",
    }
    assert {key: merged[key] for key in merged.keys() - changed} == {key: first[key] for key in first.keys() - changed}


@KINDS
def test_the_exact_sum_adds_every_update(kind: str) -> None:
    model = peft_model(kind)
    add_merged_adapter(model, NAMES, WEIGHTS, "merged", rank="max")
    model.set_adapter("merged")
    check_outputs(layers(model), weighted(model, WEIGHTS))


def test_a_published_method_by_name() -> None:
    model = peft_model("conv")
    for name, settings in {"named": {"method": "core_ties"}, "spelled": vars(lorafold.recipe("core_ties"))}.items():
        chosen = {key: value for key, value in settings.items() if key not in ("weights", "rank")}
        add_merged_adapter(model, NAMES, WEIGHTS, name, rank=3, **chosen)
    named, spelled = (deltas(model, name) for name in ("named", "spelled"))
    assert named and all(torch.equal(named[path], delta) for path, delta in spelled.items())


@KINDS
def test_it_can_be_saved_and_loaded_again(kind: str, tmp_path: Path) -> None:
    model = peft_model(kind)
    add_merged_adapter(model, NAMES, WEIGHTS, "merged", rank="max")
    saved(model, tmp_path)
    model.set_adapter("merged")
    again = peft.PeftModel.from_pretrained(base_model(kind), str(tmp_path / "merged")).eval()
    check_equal_outputs(layers(again), layers(model))
    torch.testing.assert_close(outputs(again, kind), outputs(model, kind), rtol=0, atol=0)


@KINDS
def test_the_model_is_left_as_it_was(kind: str) -> None:
    model = peft_model(kind)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    trainable = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    computed, active = outputs(model, kind), model.active_adapters
    add_merged_adapter(model, NAMES, WEIGHTS, "merged")
    after = model.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert {key for key, parameter in model.named_parameters() if parameter.requires_grad} == trainable
    assert model.active_adapters == active and torch.equal(outputs(model, kind), computed)


def test_a_base_model_in_half_precision_does_not_round_the_adapter() -> None:
    model = peft_model("llama")
    for key, parameter in model.named_parameters():
        parameter.data = parameter.data if ".lora_" in key else parameter.data.to(torch.bfloat16)
    add_merged_adapter(model, NAMES, WEIGHTS, "merged", rank="max")
    assert {tensor.dtype for tensor in factors(model, "merged").values()} == {torch.float32}
    for path, delta in weighted(model, WEIGHTS).items():
        assert float((deltas(model, "merged")[path] - delta).norm()) <= 1e-5 * float(delta.norm())


def test_an_initialisation_that_changes_the_base_model_is_not_repeated() -> None:
    """The new adapter is for the base model as it is, PiSSA's residual."""
    torch.manual_seed(0)
    config = {"target_modules": ["q_proj"], "r": 2, "lora_alpha": 2}
    model = peft.get_peft_model(base_model("llama"), peft.LoraConfig(init_lora_weights="pissa", **config), "first")
    model.add_adapter("second", peft.LoraConfig(init_lora_weights=False, **config))
    base = {key: tensor.clone() for key, tensor in model.state_dict().items() if "base_layer" in key}
    with pytest.raises(LorafoldError, match=r"what rank 2 leaves over, but these modules have rank 3"):
        add_merged_adapter(model, NAMES, WEIGHTS, "merged", rank=3)
    add_merged_adapter(model, NAMES, WEIGHTS, "merged", rank=2)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in base.items())


def test_a_whole_module_that_one_adapter_has_trained_comes_along() -> None:
    plain = {"target_modules": ["query"], "r": 2}
    model = peft_model("bert", (plain, {**plain, "modules_to_save": ["classifier"]}))
    classifier = model.base_model.model.classifier
    nn.init.normal_(classifier.modules_to_save["second"].weight)
    add_merged_adapter(model, NAMES, WEIGHTS, "merged")
    assert torch.equal(classifier.modules_to_save["merged"].weight, classifier.modules_to_save["second"].weight)
    assert not torch.equal(classifier.modules_to_save["merged"].weight, classifier.original_module.weight)


def test_a_model_of_torch_alone() -> None:
    torch.manual_seed(0)
    config = peft.LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights=False)
    model = peft.get_peft_model(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4)), config, "first")
    model.add_adapter("second", config)
    add_merged_adapter(model, NAMES, WEIGHTS, "merged", rank="max")
    model.set_adapter("merged")
    check_outputs(layers(model), weighted(model, WEIGHTS))


def biased() -> peft.LoraConfig:
    return peft.LoraConfig(target_modules=["query"], r=2, lora_alpha=2, lora_bias=True, init_lora_weights=False)


def test_biases_come_along() -> None:
    model = peft.get_peft_model(base_model("bert"), biased(), "first")
    model.add_adapter("second", biased())
    for key, parameter in model.named_parameters():
        if key.endswith(".bias") and ".lora_B." in key:
            nn.init.normal_(parameter)
    add_merged_adapter(model, NAMES, WEIGHTS, "merged", rank=4)
    layer = layers(model)["bert.encoder.layer.0.attention.self.query"]
    expected = sum(w * layer.lora_B[name].bias for name, w in zip(NAMES, WEIGHTS, strict=True))
    torch.testing.assert_close(layer.lora_B["merged"].bias, expected.detach(), check_stride=False)


@pytest.mark.parametrize(
    ("adapters", "name", "settings", "problem"),
    [
        (["first", "third"], "merged", {}, "no adapter 'third'.*It has first, second"),
        (NAMES, "second", {}, "an adapter 'second' already"),
        (NAMES, "merged", {"rank": 0}, "rank=0, expected"),
        (NAMES, "merged", {"core": "cat"}, "core.*'cat'"),
        (NAMES, "merged", {"method": "cat"}, "method 'cat'"),
    ],
)
def test_mistakes_are_named(adapters: list[str], name: str, settings: dict, problem: str) -> None:
    model = peft_model("conv")
    with pytest.raises(LorafoldError, match=problem):
        add_merged_adapter(model, adapters, WEIGHTS, name, **settings)
    assert set(model.peft_config) == set(NAMES)


def dora_model(**config: Any) -> Any:
    """With a DoRA adapter "first" and a plain one, "second", both as after training."""
    model = peft.get_peft_model(base_model("bert"), peft.LoraConfig(r=2, use_dora=True, **config), "first")
    model.add_adapter("second", peft.LoraConfig(r=2, target_modules=["query", "key"]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def changes(model: Any, adapter: str) -> dict[str, torch.Tensor]:
    """W' - W of PEFT's own merging, by layer."""
    adapted = {name: module for name, module in layers(model).items() if hasattr(module, "base_layer")}
    before = {name: module.base_layer.weight.detach().clone() for name, module in adapted.items()}
    model.merge_adapter([adapter])
    after = {name: module.base_layer.weight.detach().clone() for name, module in adapted.items()}
    for module in adapted.values():
        if module.merged:  # PEFT warns of others
            module.unmerge()
    return {name: after[name] - weight for name, weight in before.items()}


@pytest.mark.parametrize("rslora", [False, True])
def test_dora_merges_with_the_weights_of_the_model(rslora: bool) -> None:
    model = dora_model(target_modules=["query", "value"], use_rslora=rslora, lora_alpha=3)
    add_merged_adapter(model, ["first", "second"], WEIGHTS, "merged", rank="max")
    assert not model.peft_config["merged"].use_dora
    first, second, merged = (changes(model, name) for name in ("first", "second", "merged"))
    assert any(delta.abs().max() > 0.1 for delta in first.values())
    for name, delta in merged.items():
        expected = WEIGHTS[0] * first[name] + WEIGHTS[1] * second[name]
        torch.testing.assert_close(delta, expected, rtol=0, atol=2e-6)


def test_dora_of_weights_that_are_stored_the_other_way_round() -> None:
    """GPT-2's layers, and embeddings."""
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 11, "n_positions": 16}
    base = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, eos_token_id=1, bos_token_id=1)).eval()
    config = peft.LoraConfig(
        r=2, use_dora=True, target_modules=["c_attn", "wte"], fan_in_fan_out=True, init_lora_weights=False
    )
    model = peft.get_peft_model(base, config, "first").eval()
    tokens = torch.arange(8)[None]
    before = model(tokens).logits
    add_merged_adapter(model, ["first"], [1.0], "merged", rank="max")
    model.set_adapter("merged")
    torch.testing.assert_close(model(tokens).logits, before, rtol=0, atol=1e-5)
    with model.disable_adapter():
        assert not torch.allclose(model(tokens).logits, before, atol=1e-3)


def test_dora_of_a_model_with_merged_weights() -> None:
    model = dora_model(target_modules=["query"])
    model.merge_adapter(["second"])
    with pytest.raises(LorafoldError, match=r"first: .*query: this is DoRA.*model.unmerge_adapter\(\)"):
        add_merged_adapter(model, ["first"], None, "merged")


def test_other_methods_are_refused() -> None:
    other = peft.get_peft_model(base_model("bert"), peft.LoHaConfig(target_modules=["query"]), "first")
    with pytest.raises(LorafoldError, match="expected 'LORA'"):
        add_merged_adapter(other, ["first"], None, "merged")


def test_importing_it_does_not_import_peft() -> None:
    code = "import sys, lorafold.integrations.peft; sys.exit('peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
