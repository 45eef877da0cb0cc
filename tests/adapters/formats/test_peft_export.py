"""The configuration that an adapter is written with: PEFT's own rule gives every module back its rank and scale."""

from __future__ import annotations

from dataclasses import replace

from lorafold.adapters.formats.peft_export import export_config
from tests.builders import random_adapter

SHAPES = {"a.q": (4, 3), "a.k": (4, 3), "b.q": (4, 3)}


def test_an_adapter_from_elsewhere_gets_all_that_peft_asks_for():
    adapter = random_adapter("peft", SHAPES, {"a.q": 2, "a.k": 2, "b.q": 3}, scale=0.5)
    assert export_config(adapter) == {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "target_modules": ["a.k", "a.q", "b.q"],
        "r": 2,
        "lora_alpha": 1,
        "rank_pattern": {r"^b\.q": 3},
        "alpha_pattern": {r"^b\.q": 1.5},
        "use_rslora": False,
        "use_dora": False,
        "lora_bias": False,
    }


def test_what_its_own_configuration_says_holds():
    own = {"task_type": "CAUSAL_LM", "lora_dropout": 0.1, "target_modules": ["q", "k"], "use_rslora": True, "r": 9}
    config = export_config(replace(random_adapter("peft", SHAPES, 2), config=own))
    assert {key: config[key] for key in own} == {**own, "use_rslora": False, "r": 2}
    assert (config["rank_pattern"], config["alpha_pattern"], config["lora_alpha"]) == ({}, {}, 2)
