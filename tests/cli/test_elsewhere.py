"""What is proposed to users of PEFT and mergekit does what it says: it exists, and is what they mean by the name."""

from __future__ import annotations

import re

import pytest
import torch

import lorafold
from lorafold.cli import elsewhere
from lorafold.cli.elsewhere import other_setting, other_value
from lorafold.commands import COMMANDS
from lorafold.common.options import choices
from tests.builders import random_adapter
from tests.oracles import update

SHAPES = {"lora_unet_mid_block_attentions_0_to_q": (9, 7), "lora_unet_mid_block_attentions_0_to_k": (12, 7)}


@pytest.mark.parametrize("name", ["linear", "task_arithmetic", "cat", "average", "ties", "dare_ties_svd", "nuslerp"])
def test_what_is_proposed_exists(name):
    proposed = re.findall(r"(core|method)=(\w+)", other_value("method", name))
    assert all(value in choices(group) for group, value in proposed)
    assert proposed or "weights=" in other_value("method", name)


@pytest.mark.parametrize(
    ("name", "settings", "factor"),
    [
        ("linear", {"weights": "mean", "rank": "max"}, 0.5),
        ("cat", {"weights": "sum", "rank": "max"}, 1.0),
        ("task_arithmetic", {"weights": [1, 1], "rank": "max"}, 1.0),
    ],
)
def test_the_sum_and_the_mean_are_exact(name, settings, factor):
    words = "weights=[1,1]" if isinstance(settings["weights"], list) else f"weights={settings['weights']}"
    assert words in other_value("method", name) and "rank=max" in other_value("method", name)
    pair = [random_adapter("kohya", SHAPES, rank, seed=rank) for rank in (2, 3)]
    merged = lorafold.merge(pair, device="cpu", dtype="float32", **settings).adapter
    for key, module in merged.modules.items():
        expected = factor * sum(update(adapter.modules[key]) for adapter in pair)
        torch.testing.assert_close(update(module), expected, rtol=1e-5, atol=1e-6)


def test_every_command_that_is_proposed_exists():
    assert {*elsewhere.COMMANDS.values()} <= {*COMMANDS} and not {*elsewhere.COMMANDS} & {*COMMANDS}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("core.density", "density is an option of core=breadcrumbs"),
        ("density", "write core.density=..."),
        ("solver.density", ""),
        ("name", ""),
        ("rnak", ""),
    ],
)
def test_options_are_found_where_they_are(key, words):
    answer = other_setting(key, ["core", "solver", "objective"])
    assert words in answer and bool(words) == bool(answer)


def test_an_option_of_a_merge_is_none_of_another_command():
    assert other_setting("density", ["adapters", "rank"]) == ""
