"""PEFT folders against hand formulas: scales, names, layouts, the exported configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lorafold.adapters import Adapter, Module, load, save
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.pipeline import merge
from tests.adapters.samples import PREFIX, normal, peft_folder, peft_pair, update

Q = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        pytest.param({"r": 4, "lora_alpha": 6}, 6 / 4, id="alpha over r"),
        pytest.param({"r": 4, "lora_alpha": 6, "use_rslora": True}, 6 / 2, id="rslora: alpha over root r"),
        pytest.param({"r": 9, "lora_alpha": 6, "rank_pattern": {"q_proj": 4}}, 6 / 4, id="rank_pattern keeps alpha"),
        pytest.param({"r": 4, "lora_alpha": 6, "alpha_pattern": {"q_proj": 1}}, 1 / 4, id="alpha_pattern keeps r"),
        pytest.param(
            {"r": 9, "lora_alpha": 6, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {Q: 2}, "use_rslora": True},
            2 / math.sqrt(4),
            id="both patterns and rslora",
        ),
        pytest.param({"r": 4, "lora_alpha": 6, "alpha_pattern": {"proj": 1}}, 6 / 4, id="no match inside a name"),
        pytest.param({"r": 4, "lora_alpha": 6, "alpha_pattern": {"self_attn": 1}}, 6 / 4, id="no match before the end"),
        pytest.param({"r": 4, "lora_alpha": 6, "alpha_pattern": {"q_proj": 3, Q: 1}}, 3 / 4, id="first hit wins"),
        pytest.param({"r": 4, "lora_alpha": 6, "alpha_pattern": {"^q_proj": 3, ".*attn.q_proj": 2}}, 2 / 4, id="regex"),
        pytest.param({"r": 4, "lora_alpha": 6, "alpha_pattern": {r"layers\.[01]\..*": 5}}, 5 / 4, id="regex classes"),
        pytest.param({"r": 4, "lora_alpha": 0.5}, 0.125, id="fractional alpha"),
    ],
)
def test_scale_follows_pefts_rule(tmp_path: Path, config: dict[str, Any], scale: float) -> None:
    module = load(peft_folder(tmp_path, peft_pair(Q, r=4), **config)).modules[Q]
    assert module.scale == scale
    assert (module.rank, module.shape, module.kind) == (4, (6, 5), "linear")


def test_r_and_alpha_default_to_pefts_eight(tmp_path: Path) -> None:
    peft_folder(tmp_path, peft_pair(Q, r=8))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert load(tmp_path).modules[Q].scale == 1.0


def test_a_path_that_is_no_regex_for_itself_is_still_found(tmp_path: Path) -> None:
    adapter = load(peft_folder(tmp_path, peft_pair("a+b"), alpha_pattern={"a+b": 3}))
    assert adapter.modules["a+b"].scale == 1.5


@pytest.mark.parametrize("adapter", ["", ".default", ".my-adapter"])
def test_an_adapters_name_in_the_keys_is_dropped(tmp_path: Path, adapter: str) -> None:
    extra = {
        f"{PREFIX}emb.lora_embedding_A{adapter}": normal(2, 9),
        f"{PREFIX}emb.lora_embedding_B{adapter}": normal(3, 2),
    }
    modules = load(peft_folder(tmp_path, peft_pair(Q, adapter=adapter) | extra)).modules
    assert set(modules) == {Q, "emb"}
    assert (modules["emb"].kind, modules["emb"].shape) == ("embedding", (3, 9))


def test_a_convolution_and_a_bias(tmp_path: Path) -> None:
    down, up, bias = normal(2, 4, 3, 3), normal(6, 2, 1, 1), normal(6)
    base = f"{PREFIX}c.lora_"
    tensors = {f"{base}A.weight": down, f"{base}B.weight": up, f"{base}B.bias": bias}
    module = load(peft_folder(tmp_path, tensors, lora_bias=True, lora_alpha=3)).modules["c"]
    dense = 1.5 * torch.einsum("or,rikl->oikl", up.flatten(1).double(), down.double())
    torch.testing.assert_close(update(module).reshape(6, 4, 3, 3), dense, rtol=1e-12, atol=1e-12)
    assert (module.kernel, module.kind, module.scale) == ((3, 3), "conv", 1.5)
    assert torch.equal(module.bias, bias)


def test_absolute_tensors_are_extras(tmp_path: Path) -> None:
    extras = {f"{PREFIX}classifier.weight": normal(2, 3), f"{PREFIX}q_proj.base_layer.bias": normal(2)}
    adapter = load(peft_folder(tmp_path, peft_pair() | extras, bias="all", modules_to_save=["classifier"]))
    assert adapter.extras.keys() == extras.keys()
    assert adapter.config["modules_to_save"] == ["classifier"]


def test_a_bare_file_finds_the_configuration_beside_it(tmp_path: Path) -> None:
    peft_folder(tmp_path, peft_pair(Q), lora_alpha=8)
    file = (tmp_path / "adapter_model.safetensors").rename(tmp_path / "renamed.safetensors")
    assert load(file).modules[Q].scale == load(tmp_path).modules[Q].scale == 4.0


def exported(tmp_path: Path, modules: dict[str, tuple[int, float]], **config: Any) -> dict[str, Any]:
    """The adapter_config.json written for modules of (rank, scale)."""
    made = {name: Module(name, normal(4, r), normal(r, 3), scale) for name, (r, scale) in modules.items()}
    written: dict[str, Any] = json.loads(
        (save(Adapter("peft", made, config=config), tmp_path / "out") / "adapter_config.json").read_text()
    )
    return written


def test_uniform_modules_need_no_pattern(tmp_path: Path) -> None:
    config = exported(tmp_path, {"a.q": (4, 1.0), "b.q": (4, 1.0)}, base_model_name_or_path="x", use_rslora=True, r=9)
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (4, 4, False)
    assert (config["rank_pattern"], config["alpha_pattern"]) == ({}, {})
    assert (config["base_model_name_or_path"], config["peft_type"]) == ("x", "LORA")


def test_a_whole_alpha_is_written_as_one(tmp_path: Path) -> None:
    config = exported(tmp_path, {"a.q": (49, 1 / 49)})  # in floating point, 1 / 49 * 49 < 1
    assert config["lora_alpha"] == 1 and isinstance(config["lora_alpha"], int)


def test_patterns_match_one_path_only(tmp_path: Path) -> None:
    config = exported(tmp_path, {"b.fc": (4, 1.0), "c.fc": (4, 1.0), "fc": (2, 1.0), "d.q": (4, 0.5)})
    assert (config["r"], config["lora_alpha"]) == (4, 4)
    assert config["rank_pattern"] == {"^fc": 2}
    assert config["alpha_pattern"] == {"^fc": 2, r"^d\.q": 2}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param({"target_modules": ["q", "v"]}, True, id="tails"),
        pytest.param({"target_modules": ["a.q", "b.q"]}, True, id="paths"),
        pytest.param({"target_modules": r"[ab]\.q"}, True, id="regex"),
        pytest.param({"target_modules": ["a.q"]}, False, id="one missing"),
        pytest.param({"target_modules": r"a\..*"}, False, id="regex misses one"),
        pytest.param({"target_modules": ["q"], "exclude_modules": ["b.q"]}, False, id="excluded"),
        pytest.param({"target_modules": ["q"], "layers_to_transform": [0]}, False, id="by layer number"),
        pytest.param({"target_modules": "all-linear"}, False, id="shorthand"),
        pytest.param({"target_modules": None}, False, id="none"),
        pytest.param({}, False, id="no configuration"),
    ],
)
def test_target_modules_are_kept_if_they_cover_all(tmp_path: Path, given: dict[str, Any], kept: bool) -> None:
    config = exported(tmp_path, {"b.q": (2, 1.0), "a.q": (2, 1.0)}, **given)
    assert config["target_modules"] == (given["target_modules"] if kept else ["a.q", "b.q"])
    assert not config.get("exclude_modules") and not config.get("layers_to_transform")


def test_an_initialisation_that_changed_the_base_model_keeps_its_rank(tmp_path):
    """PEFT subtracts at load what the initial factors of that rank hold: another rank would leave another model."""
    adapter = load(peft_folder(tmp_path, peft_pair()))
    adapter = replace(adapter, config={**adapter.config, "init_lora_weights": "pissa"})  # as of a live model
    save(adapter, tmp_path / "same")
    wider = {
        name: replace(module, up=torch.cat([module.up] * 2, 1), down=torch.cat([module.down / 2] * 2, 0))
        for name, module in adapter.modules.items()
    }
    with pytest.raises(LorafoldError, match=r"init_lora_weights=pissa changes the base model by what rank \d+ leaves"):
        save(replace(adapter, modules=wider), tmp_path / "wider")
    assert not (tmp_path / "wider").exists()


@pytest.mark.parametrize("wrapper", ["_orig_mod." + PREFIX, "module." + PREFIX, 2 * PREFIX, PREFIX + "_orig_mod."])
def test_wrappers_of_the_model_are_no_part_of_a_name(tmp_path: Path, wrapper: str) -> None:
    """Compiled models, and models to which PEFT was applied twice."""
    pair = {key.replace(PREFIX, wrapper): tensor for key, tensor in peft_pair(Q).items()}
    adapter = load(peft_folder(tmp_path, pair | {f"{wrapper}score.weight": normal(3, 2)}))
    assert list(adapter.modules) == [Q] and list(adapter.extras) == [f"{PREFIX}score.weight"]


def combined(*configs: dict[str, Any]) -> Mapping[str, Any]:
    module = Module(Q, normal(4, 2), normal(2, 3), 1.0)
    return merge([Adapter("peft", {Q: module}, config=config) for config in configs], rank=2).adapter.config


@pytest.mark.parametrize(
    ("first", "other", "merged"),
    [
        ({}, {"modules_to_save": ["score"]}, {"modules_to_save": ["score"]}),
        ({"modules_to_save": ["a"]}, {"modules_to_save": ["b", "a"]}, {"modules_to_save": ["a", "b"]}),
        ({"bias": "none"}, {"bias": "lora_only"}, {"bias": "lora_only"}),
        ({"bias": "all"}, {"bias": "lora_only"}, {"bias": "all"}),
        ({}, {"trainable_token_indices": [4, 5]}, {"trainable_token_indices": [4, 5]}),
        ({"trainable_token_indices": [4]}, {}, {"trainable_token_indices": [4]}),
        ({"layer_replication": [[0, 2]]}, {"layer_replication": [[0, 2]]}, {"layer_replication": [[0, 2]]}),
    ],
)
def test_settings_of_every_input_count(first: dict, other: dict, merged: dict) -> None:
    """PEFT drops the tensors that the configuration does not announce."""
    assert combined({"r": 2} | first, {"r": 2} | other) == {"r": 2} | merged


@pytest.mark.parametrize(
    ("first", "other", "key"),
    [
        ({}, {"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"trainable_token_indices": [4]}, {"trainable_token_indices": [5]}, "trainable_token_indices"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(first: dict, other: dict, key: str) -> None:
    with pytest.raises(LorafoldError, match=f"{key}: .* in another adapter"):
        combined({"r": 2} | first, {"r": 2} | other)
