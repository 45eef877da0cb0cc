"""What a merge says beside its numbers, and that what it promises comes true."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lorafold
from lorafold.adapters import save
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.runs.run import Run
from tests.builders import DEMO, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import relative, updates

SHAPES = {"a": (40, 30), "b": (28, 50)}


def pair(ranks=(4, 3), **options) -> list[lorafold.Adapter]:
    return [random_adapter("kohya", SHAPES, rank, seed=i, **options) for i, rank in enumerate(ranks)]


def promised(messages: list[str]) -> tuple[int, int]:
    """The rank and the percentage of the one message that names them."""
    (found,) = [match for line in messages if (match := re.search(r"rank=(\d+) keeps at least (\d+) % of each$", line))]
    return int(found[1]), int(found[2])


def kept(result: lorafold.MergeResult, adapters: list[lorafold.Adapter], rank: int) -> list[float]:
    """The mean over modules of ‖UᵀΔW_iV‖² / ‖ΔW_i‖², U and V from the dense merged updates."""
    shares = []
    for adapter in adapters:
        of = []
        for name, merged in updates(result.adapter).items():
            U, _, Vt = torch.linalg.svd(merged)
            delta = updates(adapter)[name]
            of.append(float((U[:, :rank].T @ delta @ Vt[:rank].T).square().sum() / delta.square().sum()))
        shares.append(sum(of) / len(of))
    return shares


@pytest.mark.parametrize(
    "options",
    [
        {"rank": 4, "weights": [0.9, 0.1]},
        {"rank": 3, "weights": [1.0, 0.01], "objective": "geodesic"},
        {"rank": 2, "weights": [0.9, -0.1], "core": "mean", "core_rank": "max"},
    ],
    ids=str,
)
def test_what_vanishes_is_said_and_the_rank_that_is_named_keeps_it(options, caplog):
    adapters = pair()
    first = lorafold.merge(adapters, **options)
    before = kept(first, adapters, options["rank"])
    assert before[1] < 0.25
    (line,) = caplog.messages
    assert line.startswith(f"#2 keeps {100 * before[1]:.2g} % of its energy at rank {options['rank']}, the mean over")
    rank, share = promised(caplog.messages)
    assert 95 <= share <= 100 and options["rank"] < rank <= 7
    caplog.clear()
    again = lorafold.merge(adapters, **{**options, "rank": rank})
    assert min(kept(again, adapters, rank)) >= share / 100 - 1e-9
    assert not caplog.messages


def test_the_shipped_pair_with_unequal_weights(caplog):
    result = lorafold.merge(DEMO, weights=[0.7, 0.3], rank=8)
    assert result.metrics()["summary"]["retained"][1] < 0.05
    rank, share = promised(caplog.messages)
    assert "#2 (dmovie) keeps 3.9 %" in caplog.text
    again = lorafold.merge(DEMO, weights=[0.7, 0.3], rank=rank).metrics()["summary"]["retained"]
    assert min(again) >= share / 100 - 1e-9


def test_nothing_is_said_of_an_adapter_that_was_left_out(caplog):
    """Neither of one without a weight, nor of one without it in the modules where it keeps little."""
    lorafold.merge(pair(), weights=[1.0, 0.0], rank=4)
    lorafold.merge(pair((3, 3)), weights=[0.5, 0.5], module_weights={"a": [1, 0], "b": [0, 1]}, rank=4)
    lorafold.merge(pair((3, 3)), rank="max")
    assert not caplog.messages


def test_no_rank_is_named_beyond_a_core_rank_that_was_given(caplog):
    lorafold.merge(pair((6, 6)), weights=[1.0, 0.01], rank=2, core_rank=4)
    (line,) = caplog.messages
    assert line.endswith("the mean over its modules")


def test_many_adapters_that_vanish_are_counted(caplog):
    lorafold.merge(pair((2,) * 6), weights=[1.0, *[0.01] * 5], rank=2)
    (line,) = caplog.messages
    assert line.startswith("#2 keeps ") and " and 2 more less than a quarter of its energy at rank 2" in line


def test_one_adapter_alone(caplog):
    lorafold.merge(pair()[:1])
    assert caplog.messages == [
        "one adapter alone: there is nothing to merge; `lorafold resize` is for a change of rank"
    ]


def test_one_adapter_twice(caplog, tmp_path):
    """As the same file, as a copy, and as an equal adapter; not where a single number or a bias differs."""
    one, other = pair((3, 3))
    for name in ("x", "y"):
        save(one, tmp_path / f"{name}.safetensors")
    said = "#1 (x.safetensors) and #{} ({}.safetensors) are the same adapter, which counts twice"
    lorafold.merge([tmp_path / "x.safetensors", tmp_path / "x.safetensors"])
    assert caplog.messages == [said.format(2, "x")]
    caplog.clear()
    lorafold.merge([tmp_path / "x.safetensors", other, tmp_path / "y.safetensors"])
    assert caplog.messages == [said.format(3, "y")]
    caplog.clear()
    near = changed(
        one, lambda m: replace(m, up=m.up.index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(9.0).double()))
    )
    lorafold.merge([one, near])
    first = next(iter(one.modules))
    lorafold.merge([one, replace(one, modules={**one.modules, first: near.modules[first]})])
    added = replace(one, deltas={"d": torch.ones(2), "e": torch.ones(2)})
    lorafold.merge([added, replace(added, deltas={"d": torch.ones(2), "e": torch.zeros(2)})])
    lorafold.merge([one, changed(one, lambda m: replace(m, scale=2.0))])
    lorafold.merge([one, replace(one, deltas={"d": torch.ones(2)})])
    assert not caplog.messages


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": [70, 30]}, "weights=[70,30] sum to 100: did you mean weights=[0.7,0.3]?"),
        ({"weights": [20, -20]}, "weights=[20,-20] sum to 0: did you mean weights=[0.5,-0.5]?"),
        ({"weights": [6, 6]}, "weights=[6,6] sum to 12: did you mean weights=[0.5,0.5]?"),
        ({"weights": [3, 1], "scale": 5}, "weights=[3,1] times scale=5 sum to 20: did you mean weights=[0.75,0.25]?"),
        ({"weights": [1, 1]}, None),
        ({"weights": [70, 30], "scale": 0.01}, None),
        ({"weights": [70, 30], "scale": "mean_norm"}, None),
        ({"weights": [70, 30], "core": "mean"}, None),
        ({"weights": "sum", "scale": 20}, None),
    ],
    ids=str,
)
def test_weights_that_are_hardly_meant(options, said, caplog):
    lorafold.merge(pair(), rank="max", **options)
    assert caplog.messages == ([said] if said else [])


def test_the_sum_of_many_adapters_is_meant(caplog):
    lorafold.merge(pair((1,) * 12), weights=[1] * 12, rank="max")
    assert not caplog.messages


@pytest.mark.parametrize("core", ["sum", "ties"])
def test_a_rank_beyond_the_joint_one_adds_no_zeros(core, caplog):
    """Of all modules the largest, for a file has one rank; the update is the same."""
    adapters = [changed(pair()[0], only=["a"]), pair()[1]]
    most, whole = (lorafold.merge(adapters, rank=rank, core=core) for rank in (1000, "max"))
    assert {module.rank for module in most.adapter.modules.values()} == {7}
    assert [module["rank"] for module in most.metrics()["modules"]] == [7, 7]
    for name, delta in updates(most.adapter).items():
        assert relative(delta, updates(whole.adapter)[name]) < 1e-9
    assert not caplog.messages


def test_nor_one_beyond_the_size_of_a_layer():
    adapters = [random_adapter("kohya", {"a": (5, 9)}, 4, seed=seed) for seed in (1, 2)]
    assert lorafold.merge(adapters, rank=32).adapter.modules["a"].rank == 5
    assert lorafold.resize(adapters[0], rank=1000).adapter.modules["a"].rank == 4
    assert lorafold.merge(adapters, rank=3, truncate=1000).adapter.modules["a"].rank == 3


def test_a_run_says_the_rank_and_whose_adapters_it_took(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    metrics = merge(Run(tmp_path / "run", tmp_path), MergeConfig(rank=1000, page=False))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the demo pair that lorafold ships, as no adapters of your own are given"
    assert lines[1].startswith("36 modules, rank 40, ")
    assert "rank: 40, the adapters' joint rank (rank=1000 would add zeros)" in lines
    assert metrics["config"]["rank"] == 1000 and {module["rank"] for module in metrics["modules"]} == {40}
    config = json.loads((Path(metrics["output"]["path"]) / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (40, 40, {})


def test_a_run_of_the_users_own_does_not_speak_of_the_demo_pair(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    merge(Run(tmp_path / "run", tmp_path), MergeConfig(rank=4, adapters=list(DEMO), page=False))
    assert "demo pair" not in capsys.readouterr().out
