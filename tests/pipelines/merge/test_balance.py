"""Adapters before they are merged: cut to a rank, balanced; against dense matrices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from lorafold.core_space import energies
from lorafold.layers.line_up import line_up
from lorafold.pipelines.merge.balance import SATURATE, balancing_factors, module_energies, truncated
from tests.builders import Source, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.demo_pair import change
from tests.oracles import relative, truncations, updates

SHAPES = {"a": (12, 9), "b": (9, 14)}
EXACT = {"rank": "max"}


def adapter(rank: int, seed: int, factor: float = 1.0, dtype: torch.dtype = torch.float64) -> lorafold.Adapter:
    return random_adapter("kohya", SHAPES, rank, seed=seed, scale=factor, dtype=dtype)


def dense_norm(of: lorafold.Adapter) -> float:
    return math.sqrt(sum(float(delta.square().sum()) for delta in updates(of).values()))


def norms(adapters: list[lorafold.Adapter]) -> list[float]:
    return [math.sqrt(sum(module_energies(one).values())) for one in adapters]


def trio() -> list[lorafold.Adapter]:
    return [adapter(4, 1), adapter(3, 2, 4.0), adapter(5, 3, 0.7)]


class TestTruncation:
    def test_every_update_becomes_its_best_approximation(self):
        whole = adapter(5, 1, 0.5)
        for rank in (1, 3):
            found = truncated(whole, rank)
            assert {module.rank for module in found.modules.values()} == {rank}
            for name, delta in updates(whole).items():
                assert relative(updates(found)[name], truncations(delta, [rank])[0]) < 1e-12

    def test_of_16_bits_it_adds_no_rounding(self):
        whole = adapter(5, 1, dtype=torch.float16)
        for name, delta in updates(whole).items():
            assert relative(updates(truncated(whole, 3))[name], truncations(delta, [3])[0]) < 1e-6

    @pytest.mark.parametrize("rank", [None, 5, 9])
    def test_nothing_happens_to_an_adapter_of_no_higher_rank(self, rank):
        whole = adapter(5, 1)
        assert truncated(whole, rank) is whole

    def test_all_but_the_factors_is_kept(self):
        S = Source(0)
        whole = replace(adapter(5, 1), deltas={"d": S.normal(3)}, metadata={"k": "v"})
        whole = changed(whole, lambda m: replace(m, bias=S.normal(m.shape[0])))
        found = truncated(whole, 2)
        assert found.deltas is whole.deltas and found.metadata is whole.metadata
        for name, module in found.modules.items():
            before = whole.modules[name]
            torch.testing.assert_close(module.scale * module.bias, before.scale * before.bias)

    def test_a_merge_of_cut_adapters(self):
        first, second = adapter(4, 1), adapter(5, 2)
        found = updates(lorafold.merge([first, second], weights=[2, -1], truncate=[2, None], **EXACT).adapter)
        for name in SHAPES:
            cut = truncations(updates(first)[name], [2])[0]
            assert relative(found[name], 2 * cut - updates(second)[name]) < 1e-9

    def test_one_rank_for_all_of_one_adapter(self):
        found = updates(lorafold.merge([adapter(4, 1)], truncate=1, **EXACT).adapter)
        for name, delta in updates(adapter(4, 1)).items():
            assert relative(found[name], truncations(delta, [1])[0]) < 1e-9


class TestBalance:
    def test_norms_are_those_of_whole_adapters(self):
        assert norms(trio()) == pytest.approx([dense_norm(one) for one in trio()], rel=1e-12)

    def test_energies_in_batches_are_the_same(self):
        for one in trio():
            found = energies(line_up([one]), torch.device("cpu"))
            assert len(found) == len(one.modules)
            assert float(found.sum().sqrt()) == pytest.approx(dense_norm(one), rel=1e-12)

    @pytest.mark.cuda
    def test_on_a_gpu(self):
        for one in trio():
            there, here = (energies(line_up([one]), torch.device(name)).cpu() for name in ("cuda", "cpu"))
            torch.testing.assert_close(there, here, rtol=1e-12, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @pytest.mark.parametrize("size", [1e-30, 1e-7, 1.0, 6e4, 1e25])
    def test_of_any_dtype_and_size(self, dtype, size):
        size = min(max(size, 1e-6), 6e4) if dtype == torch.float16 else size
        many = changed(
            random_adapter("kohya", {f"m{i}": (30 + i, 20) for i in range(11)}, 4, seed=2),
            lambda m: replace(m, up=(size * m.up / m.up.abs().max()).to(dtype), down=m.down.to(dtype)),
        )
        assert norms([many, many]) == pytest.approx([dense_norm(many)] * 2, rel=1e-6)

    def test_no_norm_is_too_large(self):
        (vast,) = [changed(one, lambda m: replace(m, scale=1e200)) for one in trio()[:1]]
        assert norms([vast, adapter(4, 1)]) == [math.inf, pytest.approx(dense_norm(adapter(4, 1)))]
        assert balancing_factors([vast, adapter(4, 1)], [1, 1]) == [1.0, 1.0]

    def test_all_become_as_large_as_their_mean(self):
        sizes = [dense_norm(one) for one in trio()]
        found = balancing_factors(trio(), [1.0, -0.5, 0.2])
        assert [gain * size for gain, size in zip(found, sizes, strict=True)] == pytest.approx([sum(sizes) / 3] * 3)

    @pytest.mark.parametrize("balance", [0.0, 0.3, 0.7, 1.0])
    def test_ratios_become_powers_of_themselves_and_the_mean_stays(self, balance):
        sizes = np.array([dense_norm(one) for one in trio()])
        after = sizes * balancing_factors(trio(), [1, 1, 1], balance)
        assert after[1:] / after[0] == pytest.approx((sizes[1:] / sizes[0]) ** (1 - balance))
        assert after.mean() == pytest.approx(sizes.mean())

    def test_norms_far_from_one(self):
        for size in (1e-100, 1e100):
            far = [changed(one, lambda m, size=size: replace(m, scale=size * m.scale)) for one in trio()]
            assert balancing_factors(far, [1, 1, 1], 0.7) == pytest.approx(balancing_factors(trio(), [1, 1, 1], 0.7))

    def test_one_of_weight_zero_has_no_say(self):
        sizes = [dense_norm(one) for one in trio()]
        assert balancing_factors(trio(), [1.0, 0.0, 1.0])[0] == pytest.approx((sizes[0] + sizes[2]) / 2 / sizes[0])

    def test_one_that_changes_nothing_stays_so(self):
        nothing = adapter(2, 4, 0.0)
        assert balancing_factors([nothing, adapter(4, 1)], [1, 1]) == [1.0, 1.0]
        assert balancing_factors([nothing], [1]) == [1.0]

    def test_the_merge_is_that_of_the_balanced_adapters(self):
        S, weights = Source(0), [0.7, -0.4]
        pair = [
            changed(replace(one, format="peft"), lambda m: replace(m, bias=S.normal(m.shape[0]))) for one in trio()[:2]
        ]
        found = lorafold.merge(pair, weights=weights, balance=True, scale=2.0, **EXACT).adapter
        sizes = [dense_norm(one) for one in pair]
        factors = [2 * w * sum(sizes) / 2 / size for w, size in zip(weights, sizes, strict=True)]
        for name in SHAPES:
            expected = sum(f * updates(one)[name] for f, one in zip(factors, pair, strict=True))
            assert relative(updates(found)[name], expected) < 1e-9
            biases = [one.modules[name].scale * one.modules[name].bias for one in pair]
            expected = sum(f * bias for f, bias in zip(factors, biases, strict=True))
            torch.testing.assert_close(found.modules[name].bias, expected)

    def test_additive_tensors_are_balanced_too(self):
        deltas = [Source(i).normal(3) for i in range(2)]
        pair = [replace(one, deltas={"d": delta}) for one, delta in zip(trio(), deltas, strict=False)]
        sizes = [dense_norm(one) for one in pair]
        found = lorafold.merge(pair, balance=True).adapter.deltas["d"]
        torch.testing.assert_close(found, sum(sizes) / 4 * (deltas[0] / sizes[0] + deltas[1] / sizes[1]))

    def test_the_report_is_about_the_inputs_as_they_were(self):
        pair = trio()[:2]
        inputs = lorafold.merge(pair, balance=True).metrics()["inputs"]
        assert [entry["norm"] for entry in inputs] == pytest.approx([dense_norm(one) for one in pair])
        assert [entry["gain"] for entry in inputs] == pytest.approx(balancing_factors(pair, [1, 1]))
        plain = lorafold.merge(pair, scale=1.0).metrics()["inputs"]
        assert [entry["gain"] for entry in plain] == [1.0, 1.0]

    @pytest.mark.parametrize("core", ["sum", "sce", "karcher"])
    def test_the_size_of_an_adapter_no_longer_matters_but_to_the_mean(self, core):
        first, second = trio()[:2]
        larger = changed(second, lambda m: replace(m, scale=2 * m.scale))
        one, other = (
            lorafold.merge([first, x], balance=True, core=core, scale="max_norm", rank=4, subspace_weight=0)
            for x in (second, larger)
        )
        size = dense_norm(one.adapter) / dense_norm(other.adapter)
        grown = {name: size * delta for name, delta in updates(other.adapter).items()}
        assert max(relative(delta, grown[name]) for name, delta in updates(one.adapter).items()) < 1e-6

    def test_the_order_does_not_matter(self):
        one = lorafold.merge(trio(), weights=[1, 2, 3], balance=True, rank=6, subspace_weight=0)
        other = lorafold.merge(trio()[::-1], weights=[3, 2, 1], balance=True, rank=6, subspace_weight=0)
        assert change(other, one) < 1e-9


class TestSaturation:
    """Only what is large is brought together."""

    def test_of_dense_updates(self):
        adapters = [adapter(2, seed, scale) for seed, scale in ((1, 2e-3), (2, 1e-2), (3, 0.1))]
        wanted, sizes = [], []
        for one in adapters:
            dense = updates(one).values()
            energies = [float(delta.square().sum()) for delta in dense]
            outputs = [float(delta.square().sum(1).mean()) for delta in dense]  # mean square of an entry of ΔW x
            size = sum(map(math.prod, zip(energies, outputs, strict=True))) / sum(energies)
            wanted.append((1 + size / 0.08**2) ** -0.5)
            sizes.append(math.sqrt(sum(energies)))
        assert min(wanted) < 0.3 < 0.9 < max(wanted)
        mean = sum(sizes) / sum(g * n for g, n in zip(wanted, sizes, strict=True))
        found = balancing_factors(adapters, [1, 1, 1], SATURATE)
        assert found == pytest.approx([mean * g for g in wanted], rel=1e-9)

    @pytest.mark.parametrize(("factor", "power"), [(1e-6, 0.0), (1e4, 1.0)])
    def test_it_is_no_balance_of_small_adapters_and_a_full_one_of_large_ones(self, factor, power):
        trio = [adapter(4, 1, factor), adapter(3, 2, 4 * factor), adapter(5, 3, 0.7 * factor)]
        expected = balancing_factors(trio, [1, 1, 1], power)
        assert balancing_factors(trio, [1, 1, 1], SATURATE) == pytest.approx(expected, rel=0.1)

    def test_the_larger_stays_the_larger_however_large(self):
        for size in (1e-2, 1.0, 1e150):
            pair = [adapter(4, 1, size), adapter(4, 1, 3 * size)]
            first, second = balancing_factors(pair, [1, 1], SATURATE)
            assert 1 - 1e-9 <= 3 * second / first <= 3 + 1e-9

    def test_layers_that_are_not_changed_do_not_count(self):
        one, other = (random_adapter("kohya", SHAPES, 3, seed=seed, scale=0.1) for seed in (1, 2))
        without = replace(one, modules={"a": one.modules["a"]})
        zero = {**one.modules, "b": replace(one.modules["b"], scale=0.0)}
        faint = {**one.modules, "b": replace(one.modules["b"], scale=1e-5)}
        found, *same = (
            balancing_factors([own, other], [1, 1], SATURATE)
            for own in (without, replace(one, modules=zero), replace(one, modules=faint))
        )
        assert same == [pytest.approx(found, rel=1e-5)] * 2

    def test_a_mistake_in_the_word_is_named(self):
        with pytest.raises(lorafold.LorafoldError, match="balance='saturated', expected saturate, true, false"):
            lorafold.merge(trio(), balance="saturated")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("prepared", [{"truncate": 2}, {"balance": True}, {"truncate": 2, "balance": 0.5}], ids=str)
def test_a_merge_of_prepared_adapters_has_the_dtype_of_the_given_ones(prepared, dtype):
    result = lorafold.merge([adapter(4, 1, dtype=dtype), adapter(5, 2, dtype=dtype)], rank=3, **prepared)
    assert {factor.dtype for m in result.adapter.modules.values() for factor in (m.up, m.down)} == {dtype}
