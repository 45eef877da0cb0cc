"""How strong each adapter is where the user does not say, and that nothing is chosen where he does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.cli.config import read
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.pipelines.merge.settings import CHOSEN, MergeSettings
from lorafold.runs.run import Run
from tests.builders import changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.cli.test_config import composed
from tests.demo_pair import change
from tests.oracles import relative, updates

SHAPES = {"a": (12, 9), "b": (9, 14)}
PLAIN = {"balance": False, "scale": 1.0}
SILENT = {
    "nothing": {},
    "the subspaces alone": {"objective": "geodesic", "rank": 4, "subspace_weight": 0.0},
}
SAID = {
    "weights": {"weights": [0.5, 0.5]},
    "the mean": {"weights": "mean"},
    "the sum": {"weights": "sum"},
    "weights of modules": {"module_weights": {"a": [1, 0]}},
    "weights of blocks": {"block_weights": [None, "OUTALL"]},
    "the sum by name": {"core": "sum"},
    "the sum with options": {"core": {"name": "sum"}},
    "another rule": {"core": "ties"},
    "another rule with options": {"core": {"name": "ties", "density": 0.3}},
    "no balance": {"balance": False},
    "a scale": {"scale": 1.0},
}


def energy(adapter: lorafold.Adapter) -> float:
    return sum(float(delta.square().sum()) for delta in updates(adapter).values())


def pair() -> list[lorafold.Adapter]:
    return [random_adapter("kohya", SHAPES, r, seed=r, scale=size) for r, size in ((4, 1.0), (3, 5.0))]


@pytest.mark.parametrize("settings", SILENT.values(), ids=SILENT)
def test_who_says_nothing_gets_what_was_found_best(settings):
    found = MergeSettings(**settings).with_strength(2)
    assert {name: getattr(found, name) for name in CHOSEN} == CHOSEN
    said = {"subspace_weight": settings.get("subspace_weight")}
    assert replace(found, core=None, **said, **dict.fromkeys(CHOSEN, "auto")) == MergeSettings(**settings)


@pytest.mark.parametrize("settings", SAID.values(), ids=SAID)
def test_what_is_said_counts_as_it_is_said(settings):
    found = MergeSettings(**settings).with_strength(2)
    assert {name: getattr(found, name) for name in PLAIN} == PLAIN


def test_one_part_may_be_said():
    usual = MergeSettings(core="sum", subspace_weight=1.0)
    assert MergeSettings(scale="each").with_strength(2) == replace(usual, scale="each", balance=False)
    assert MergeSettings(balance=0.5).with_strength(2) == replace(usual, scale=1.0, balance=0.5)


def test_one_adapter_stays_as_it_is():
    (one, _) = pair()
    found = lorafold.merge([one], rank="max")
    assert found.scale == 1.0 and found.gains == (1.0,)
    for name, delta in updates(found.adapter).items():
        assert relative(delta, updates(one)[name]) < 1e-9


def test_a_merge_is_that_of_the_settings_that_were_chosen():
    chosen, said = lorafold.merge(pair(), rank=5), lorafold.merge(pair(), weights="mean", rank=5, **CHOSEN)
    assert change(chosen, said) == 0 and chosen.gains == said.gains and chosen.scale == said.scale
    left = 0.0
    for name, merged in updates(chosen.adapter).items():
        U, _, Vt = torch.linalg.svd(merged)
        for gain, adapter in zip(chosen.gains, pair(), strict=True):
            left += gain**2 * float((U[:, :5].mT @ updates(adapter)[name] @ Vt[:5].mT).square().sum()) / 2
    assert energy(chosen.adapter) == pytest.approx(left)


def test_copies_of_one_adapter_merge_to_it():
    (one, _) = pair()
    for count in (2, 3):
        for name, delta in updates(lorafold.merge([one] * count, rank=4).adapter).items():
            assert relative(delta, updates(one)[name]) < 1e-9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_named_all_the_same(value):
    first, second = pair()
    broken = changed(second, lambda m: replace(m, up=m.up.index_fill(0, m.up.new_zeros(1).long(), value)))
    with pytest.raises(lorafold.LorafoldError, match=r"NaN|nan|[Ii]nf") as caught:
        lorafold.merge([first, broken])
    assert caught.value.key is not None and caught.value.key.startswith("a")


@pytest.mark.parametrize(
    ("said", "share"), [({"core": "sum"}, 0.5), ({"weights": "mean"}, 0.5), ({"weights": "sum"}, 1.0)], ids=str
)
def test_at_full_rank_the_named_sum_is_that_of_the_dense_updates(said, share):
    merged = updates(lorafold.merge(pair(), rank="max", **said).adapter)
    silent = updates(lorafold.merge(pair(), rank="max").adapter)
    for name, delta in merged.items():
        target = share * sum(updates(adapter)[name] for adapter in pair())
        assert relative(delta, target) < 1e-9 < 0.1 < relative(silent[name], target)


@pytest.mark.parametrize(
    ("said", "share"),
    [(["core=sum"], 0.5), (["weights=mean"], 0.5), (["weights=sum"], 1.0), (["core=sum", "weights=sum"], 1.0)],
    ids=str,
)
def test_the_command_knows_a_sum_that_was_named_from_silence(said, share):
    """As the settings come from Hydra, whose defaults name a rule of every group."""
    named = read(composed("rank=max", *said), MergeConfig).settings()
    silent = read(composed("rank=max"), MergeConfig).settings()
    assert {name: getattr(silent.with_strength(2), name) for name in CHOSEN} == CHOSEN
    for name, delta in updates(lorafold.merge(pair(), named).adapter).items():
        assert relative(delta, share * sum(updates(adapter)[name] for adapter in pair())) < 1e-9


def test_a_run_records_what_was_chosen(tmp_path):
    """And repeats it, whatever a later version chooses."""
    run = Run(tmp_path / "run", base=tmp_path, alone=False)
    metrics = merge(run, MergeConfig(rank=4, adapters="demo", page=False))
    assert {name: metrics["config"][name] for name in CHOSEN} == CHOSEN
    given = {name: metrics["config"][name] for name in ("weights", "core", "subspace_weight", *CHOSEN)}
    assert MergeSettings(**given).with_strength(2) == MergeSettings(**given)


@pytest.mark.parametrize("left", [1e-1, 1e-3, 1e-6])
def test_what_is_left_of_adapters_that_cancel_is_not_blown_up(left):
    """(1 + left) A - A: given A's norm it would be mostly rounding; twice the strength of unrelated ones is allowed."""
    one, other = pair()
    opposite = changed(one, lambda m: replace(m, scale=-m.scale))
    near = changed(one, lambda m: replace(m, scale=(1 + left) * m.scale))
    found = lorafold.merge([near, opposite], balance=False, scale="mean_norm", weights="sum", rank="max")
    assert found.scale == pytest.approx(2 / 2**0.5, rel=0.1)
    assert lorafold.merge([one, other], scale="mean_norm", weights="sum", rank="max").scale < 1.0
    assert energy(lorafold.merge([near, opposite], rank=4).adapter) < 4 * left**2 * energy(one)
