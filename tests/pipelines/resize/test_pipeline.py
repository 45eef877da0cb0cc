"""The change of rank against dense truncated SVDs in float64, in memory and through files of every kind."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.adapters import Module, load, save
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.resize.pipeline import resize
from tests.builders import DEMO, Source, changed, in_float64, random_adapter, single
from tests.builders import one_thread as one_thread
from tests.oracles import numerical_rank, relative, truncations, update
from tests.pipelines.align.align_cases import SHAPES, rank_deficient, zeroed

WIDE = {"a": (40, 11), "b": (9, 70), "c": (30, 31)}
ASKED = [{"rank": 2}, {"energy": 0.9}, {"ratio": 0.4}, {"parameters": 0.5}, {"energy": 0.99, "rank": 3}]


def adapter(form="kohya", rank=6, shapes=WIDE, **parts):
    return random_adapter(form, shapes, rank, seed=3, scale=-0.75, **parts)


@pytest.mark.parametrize("form", ["kohya", "peft"])
@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_every_update_becomes_its_best_approximation(asked, form):
    before = adapter(form)
    after = resize(before, **asked).adapter
    assert list(after.modules) == list(before.modules)
    for name, module in after.modules.items():
        (best,) = truncations(update(before.modules[name]), [module.rank])
        assert relative(update(module), best) < 1e-10
        assert module.scale == 1


def dense(module):
    return torch.linalg.svdvals(update(module))


def test_ranks_are_those_of_dense_singular_values():
    before = adapter()
    sigma = {name: dense(module)[:6] for name, module in before.modules.items()}
    for name, module in resize(before, energy=0.9).adapter.modules.items():
        shares = sigma[name].square().cumsum(0) / sigma[name].square().sum()
        assert module.rank == next(k for k, share in enumerate(shares, 1) if share >= 0.9)
    for name, module in resize(before, ratio=0.4).adapter.modules.items():
        assert module.rank == int((sigma[name] >= 0.4 * sigma[name][0]).sum())


def test_a_budget_is_shared_across_modules():
    """No exchange of two singular values within the budget keeps more."""
    before = adapter()
    result = resize(before, parameters=0.5)
    costs = {name: sum(module.shape) for name, module in before.modules.items()}
    spent = {name: module.rank * costs[name] for name, module in result.adapter.modules.items()}
    assert sum(spent.values()) <= 0.5 * 6 * sum(costs.values()) < sum(spent.values()) + max(costs.values())
    worth = {name: dense(module).square() / costs[name] for name, module in before.modules.items()}
    kept = min(float(worth[n][m.rank - 1]) for n, m in result.adapter.modules.items() if m.rank > 1)
    left = 0.5 * 6 * sum(costs.values()) - sum(spent.values())
    for name, module in result.adapter.modules.items():
        assert float(worth[name][module.rank]) < kept or costs[name] > left


def test_what_is_reported_is_what_was_done():
    before = adapter()
    result = resize(before, parameters=0.4)
    metrics = result.metrics()
    total = lost = 0.0
    for name, entry in zip(before.modules, metrics["modules"], strict=True):
        delta, found = update(before.modules[name]), update(result.adapter.modules[name])
        energy, error = float(delta.square().sum()), float((found - delta).square().sum())
        total, lost = total + energy, lost + error
        assert (entry["name"], entry["ranks"], entry["rank"]) == (name, [6], result.adapter.modules[name].rank)
        assert math.isclose(entry["norm"], math.sqrt(energy), rel_tol=1e-12)
        assert math.isclose(entry["retained"], 1 - error / energy, rel_tol=1e-10)
        assert math.isclose(entry["error"], error / energy, rel_tol=1e-9)
    assert math.isclose(metrics["summary"]["retained"], 1 - lost / total, rel_tol=1e-10)
    parameters = [sum(m.rank * sum(m.shape) for m in each.modules.values()) for each in (before, result.adapter)]
    assert metrics["summary"]["parameters"] == parameters


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_stay_and_rounding_is_in_the_error(dtype):
    before = adapter(dtype=dtype)
    result = resize(before, rank=6)
    entry = result.metrics()["summary"]
    assert {module.up.dtype for module in result.adapter.modules.values()} == {dtype}
    assert entry["retained"] == 1.0
    assert 0 < math.sqrt(entry["error"]) < torch.finfo(dtype).eps


def test_modules_of_two_dtypes_keep_theirs():
    before = adapter()
    dtypes = dict(zip(before.modules, (torch.float16, torch.float32, torch.bfloat16), strict=True))
    mixed = changed(before, lambda m: replace(m, up=m.up.to(dtypes[m.name]), down=m.down.to(dtypes[m.name])))
    after = resize(mixed, rank=2).adapter
    assert {name: module.up.dtype for name, module in after.modules.items()} == dtypes


@pytest.mark.parametrize(
    ("case", "ranks"),
    [
        (lambda: rank_deficient(adapter(shapes=SHAPES, rank=5)), [4, 4, 4]),
        (lambda: zeroed(adapter(shapes=SHAPES, rank=5)), [1, 5, 5]),
        (lambda: changed(adapter(shapes=SHAPES, rank=5), lambda m: replace(m, scale=0.0)), [1, 1, 1]),
        (lambda: random_adapter("kohya", SHAPES, {"a": 5, "b": 2, "c": 1}), [5, 2, 1]),
        (lambda: single(Source(1).normal(3, 7), Source(2).normal(7, 4)), [3]),
    ],
    ids=["rank-deficient", "a zero update", "zero scale", "mixed ranks", "rank above both sides"],
)
def test_what_is_not_there_is_not_kept(case, ranks):
    before = case()
    result = resize(before, energy=1.0)
    assert [module.rank for module in result.adapter.modules.values()] == ranks
    for name, module in result.adapter.modules.items():
        assert relative(update(module), update(before.modules[name])) < 1e-7
        assert module.rank == max(1, numerical_rank(update(before.modules[name])))


def test_no_rank_is_raised():
    before = random_adapter("kohya", SHAPES, {"a": 5, "b": 2, "c": 1})
    assert [module.rank for module in resize(before, rank=4).adapter.modules.values()] == [4, 2, 1]
    assert [module.rank for module in resize(zeroed(before), rank=4).adapter.modules.values()] == [4, 2, 1]


def test_a_zero_adapter_stays_zero():
    before = changed(adapter(), lambda m: replace(m, up=0 * m.up))
    metrics = resize(before, parameters=0.5).metrics()
    assert metrics["summary"]["retained"] is None
    assert {entry["rank"] for entry in metrics["modules"]} == {1}


def test_the_result_does_not_depend_on_the_factors():
    before = adapter()
    G = Source(5).conditioned(6, 6, 1e3)
    other = changed(before, lambda m: replace(m, up=m.up @ G, down=torch.linalg.inv(G) @ m.down))
    first, second = (resize(each, parameters=0.4).adapter for each in (before, other))
    for name, module in first.modules.items():
        assert relative(update(second.modules[name]), update(module)) < 1e-9


def test_convolutions_biases_and_other_tensors_are_carried(tmp_path):
    source = Source(0)
    conv = Module("conv", source.normal(8, 4), source.normal(4, 5 * 9), 0.5, (3, 3), kind="conv")
    delta = {"conv.diff_b": source.normal(8)}
    before = replace(single(source.normal(9, 4), source.normal(4, 6)), deltas=delta, metadata={"ss_network_dim": "4"})
    before = replace(before, modules={**before.modules, "conv": conv})
    after = load(save(resize(before, rank=2).adapter, tmp_path / "a.safetensors"))
    assert after.modules["conv"].kernel == (3, 3)
    assert torch.equal(after.deltas["conv.diff_b"], delta["conv.diff_b"])
    assert after.metadata["ss_network_dim"] == after.metadata["ss_network_alpha"] == "2"
    bias = source.normal(9)
    biased = single(source.normal(9, 4), source.normal(4, 6), 0.5, form="peft", bias=bias)
    module = resize(biased, rank=2).adapter.modules["a"]
    assert torch.allclose(module.scale * module.bias, 0.5 * bias)


def test_mixed_ranks_are_stated_in_the_file(tmp_path):
    result = resize(adapter(), parameters=0.5)
    ranks = {name: module.rank for name, module in result.adapter.modules.items()}
    assert len(set(ranks.values())) > 1
    after = load(save(result.adapter, tmp_path / "a.safetensors"))
    assert after.metadata["ss_network_dim"] == after.metadata["ss_network_alpha"] == "Dynamic"
    assert {name: module.rank for name, module in after.modules.items()} == ranks


def test_a_peft_folder_with_ranks_of_its_own_for_every_module(tmp_path):
    before = in_float64(load(DEMO[0]))
    after = load(save(resize(before, energy=0.6).adapter, tmp_path / "a"))
    ranks = {name: module.rank for name, module in after.modules.items()}
    assert len(set(ranks.values())) > 3
    assert len(after.config["rank_pattern"]) == len(after.config["alpha_pattern"])
    for name, module in after.modules.items():
        (best,) = truncations(update(before.modules[name]), [ranks[name]])
        assert relative(update(module), best) < 1e-9


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "nothing given"),
        ({"energy": 0.9, "ratio": 0.1}, "energy, ratio given"),
        ({"rank": 0}, "rank=0"),
        ({"energy": 1.5}, "energy=1.5"),
        ({"ratio": 0.0}, "ratio=0.0"),
        ({"parameters": math.nan}, "parameters=nan"),
        ({"parameters": 0.01}, "Ask for parameters=0.17"),
    ],
    ids=str,
)
def test_a_bad_wish_is_named(asked, words):
    with pytest.raises(LorafoldError, match=words):
        resize(adapter(), **asked)


def test_nan_is_named_by_file_and_key():
    bad = changed(adapter(path="x.safetensors"), lambda m: replace(m, up=m.up * math.nan) if m.name == "b" else m)
    with pytest.raises(LorafoldError, match=r"x\.safetensors: b\.lora_up\.weight: holds NaN or Inf"):
        resize(bad, rank=2)


def test_it_is_there_from_python():
    assert lorafold.resize is resize


@pytest.mark.parametrize("share", [{"energy": 0.999}, {"ratio": 1e-3}, {"parameters": 0.9}], ids=str)
def test_a_rank_beside_a_share_is_a_limit(share):
    alone, limited = (resize(adapter(), **share, **rank).adapter for rank in ({}, {"rank": 2}))
    assert {module.rank for module in limited.modules.values()} == {2}
    assert all(module.rank > 2 for module in alone.modules.values())
