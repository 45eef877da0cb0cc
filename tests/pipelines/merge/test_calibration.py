"""Calibrated merges: against dense matrices, what they do not depend on, which statistics are refused, what is plain.

m = out, n = in; C_i = E[x xᵀ] of adapter i, T = Σ w_i (C_i + ridge (tr C_i / n) I), w_i = a_i E_i^(-½).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.adapters.conversion.convert import convert
from lorafold.calibration import Statistics
from lorafold.calibration.content_hash import content_hash
from lorafold.common.errors import LorafoldError
from tests.builders import Source, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.layer_statistics import energy, kept_moment, layer_statistics, random_moment, statistics
from tests.oracles import relative, updates

SHAPES = {"a": (20, 30), "b": (24, 30), "c": (30, 18)}
Moments = dict[str, Tensor]


def trio(
    k: int = 30, shapes: dict[str, tuple[int, int]] = SHAPES
) -> tuple[list[Adapter], list[Moments], list[Statistics]]:
    """Three adapters of different ranks and scales, their second moments, and statistics of k directions."""
    source = Source(7)
    adapters = [random_adapter("kohya", shapes, r, seed=i, scale=0.5 + i) for i, r in enumerate((4, 3, 5))]
    moments = [{name: random_moment(source, n) for name, (_, n) in shapes.items()} for _ in adapters]
    found = [statistics(*both, k, f"corpus {i}") for i, both in enumerate(zip(adapters, moments, strict=True))]
    return adapters, moments, found


def dense(
    deltas: Sequence[Tensor], moments: Sequence[Tensor], weights: Sequence[float], ridge: float = 0.01
) -> tuple[Tensor, Tensor]:
    """ΔW* = (Σ w_i ΔW_i C̃_i) T⁻¹ and T."""
    eye = torch.eye(len(moments[0]), dtype=torch.float64)
    sizes = [weight * energy(*both) ** -0.5 for weight, *both in zip(weights, deltas, moments, strict=True)]
    padded = [w * (C + ridge * C.trace() / len(C) * eye) for w, C in zip(sizes, moments, strict=True)]
    T = torch.stack(padded).sum(0)
    total = torch.stack([delta @ C for delta, C in zip(deltas, padded, strict=True)]).sum(0)
    return torch.linalg.solve(T, total, left=False), T


def of_name(name: str, adapters: Sequence[Adapter], moments: Sequence[Moments]) -> tuple[list[Tensor], list[Tensor]]:
    return [updates(adapter)[name] for adapter in adapters], [own[name] for own in moments]


def merged(adapters: Sequence[Adapter], found: Sequence[Statistics], **settings: object) -> dict[str, Tensor]:
    return updates(lorafold.merge(adapters, calibration=found, **settings).adapter)


def worst(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(relative(one[name], other[name]) for name in one)


class TestDense:
    @pytest.mark.parametrize("weights", [None, [0.2, 0.5, 0.3], [4, 1, 1]])
    @pytest.mark.parametrize("ridge", [None, 0.3])
    def test_all_of_the_rank_is_regmean(self, weights, ridge):
        adapters, moments, found = trio()
        want = {
            name: dense(*of_name(name, adapters, moments), weights or [1, 1, 1], ridge or 0.01)[0] for name in SHAPES
        }
        assert worst(merged(adapters, found, rank="max", weights=weights, ridge=ridge), want) < 1e-11

    @pytest.mark.parametrize("k", [0, 3])
    def test_of_a_few_directions_too(self, k):
        """The energies are those of all of C."""
        adapters, moments, found = trio(k)
        few = [{name: kept_moment(C, k) for name, C in own.items()} for own in moments]
        for own, kept in zip(found, few, strict=True):
            for name, layer in own.layers.items():
                assert torch.allclose(layer.diagonal, kept[name].diagonal())
        exact = [
            replace(
                own,
                layers={n: replace(layer, energy=energy(updates(ad)[n], kept[n])) for n, layer in own.layers.items()},
            )
            for ad, own, kept in zip(adapters, found, few, strict=True)
        ]
        want = {name: dense(*of_name(name, adapters, few), [1, 1, 1])[0] for name in SHAPES}
        assert worst(merged(adapters, exact, rank="max"), want) < 1e-11

    @pytest.mark.parametrize("rank", [1, 5, 11])
    def test_a_cut_is_reduced_rank_regression(self, rank):
        """ΔW = UUᵀΔW* with U the leading eigenvectors of ΔW* T ΔW*ᵀ (Izenman 1975)."""
        adapters, moments, found = trio()
        result = merged(adapters, found, rank=rank)
        for name in SHAPES:
            whole, T = dense(*of_name(name, adapters, moments), [1, 1, 1])
            U = torch.linalg.eigh(whole @ T @ whole.mT).eigenvectors[:, -rank:]
            assert relative(result[name], U @ U.mT @ whole) < 1e-11

    def test_files_of_16_bits_lose_no_more_than_their_rounding(self):
        """Their factors are formed in float32."""
        adapters, moments, _ = trio()
        rounded = [
            changed(each, lambda module: replace(module, up=module.up.bfloat16(), down=module.down.bfloat16()))
            for each in adapters
        ]
        found = [statistics(*both, 30, f"{i}") for i, both in enumerate(zip(rounded, moments, strict=True))]
        want = {name: dense(*of_name(name, rounded, moments), [1, 1, 1])[0] for name in SHAPES}
        assert worst(merged(rounded, found, rank="max"), want) < 2**-7

    def test_the_error_is_that_in_its_norm(self):
        adapters, moments, found = trio()
        result = lorafold.merge(adapters, calibration=found, rank=4)
        for module in result.metrics()["modules"]:
            whole, T = dense(*of_name(module["name"], adapters, moments), [1, 1, 1])
            lost = updates(result.adapter)[module["name"]] - whole
            error = torch.trace(lost @ T @ lost.mT) / torch.trace(whole @ T @ whole.mT)
            assert module["reconstruction_error"] == pytest.approx(float(error), rel=1e-9)
            assert module["calibrated"] and module["orthonormality"] < 1e-10

    @pytest.mark.parametrize("objective", ["chordal", "geodesic"])
    def test_with_a_subspace_term_it_converges_between_the_two(self, objective):
        adapters, _, found = trio()
        results = [
            lorafold.merge(adapters, calibration=found, rank=5, subspace_weight=w, objective=objective).metrics()
            for w in (0.01, 1.0, 100.0)
        ]
        errors = [result["summary"]["reconstruction_error"] for result in results]
        phis = [sum(result["summary"]["phi"]["right"]) for result in results]
        assert errors == sorted(errors) and phis == sorted(phis) and errors[0] < errors[2] and phis[0] < phis[2]
        assert all(result["summary"]["converged"] == len(SHAPES) for result in results)


class TestProperties:
    def test_equal_moments_and_energies_are_the_weighted_mean(self):
        adapters, moments, _ = trio()
        layers = {name: layer_statistics(C, 5) for name, C in moments[0].items()}
        found = [Statistics(layers, content_hash(adapter), str(i), "base", 60) for i, adapter in enumerate(adapters)]
        weights = [0.2, 0.5, 0.3]
        for settings in ({"rank": "max"}, {"rank": "max", "core": "mean"}):
            plain = updates(lorafold.merge(adapters, weights=weights, **settings).adapter)
            assert worst(merged(adapters, found, weights=weights, **settings), plain) < 1e-9

    @pytest.mark.parametrize("weight", [0.0, 0.5])
    def test_the_order_of_adapters_does_not_matter(self, weight):
        adapters, _, found = trio(5)
        tight = {"solver": {"name": "riemannian_adam", "tol": 1e-10}, "rank": 5, "subspace_weight": weight}
        order = [2, 0, 1]
        turned = merged([adapters[i] for i in order], [found[i] for i in order], **tight)
        assert worst(turned, merged(adapters, found, **tight)) < 1e-7

    def test_the_gauge_of_factors_does_not_matter(self):
        adapters, _, found = trio(5)
        source = Source(3)

        def turn(module: Module) -> Module:
            G = source.conditioned(module.rank, module.rank, 10)
            return replace(module, up=module.up @ G, down=torch.linalg.solve(G, module.down))

        turned = [changed(adapter, turn) for adapter in adapters]
        again = [replace(own, adapter_hash=content_hash(ad)) for own, ad in zip(found, turned, strict=True)]
        assert worst(merged(turned, again, rank=5), merged(adapters, found, rank=5)) < 1e-9

    def test_the_unit_of_the_inputs_does_not_matter(self):
        """All C_i times c, and all energies with them."""
        adapters, moments, found = trio(5)
        scaled = [
            statistics(ad, {n: 1e6 * C for n, C in own.items()}, 5, str(i))
            for i, (ad, own) in enumerate(zip(adapters, moments, strict=True))
        ]
        assert worst(merged(adapters, scaled, rank=5), merged(adapters, found, rank=5)) < 1e-6

    @pytest.mark.parametrize("rank", [5, "max"])
    def test_one_adapter_alone_gives_itself(self, rank):
        adapters, _, found = trio(5)
        assert worst(merged(adapters[2:], found[2:], rank=rank), updates(adapters[2])) < 1e-10

    def test_weights_count_relative_to_each_other(self, caplog):
        adapters, _, found = trio(5)
        one, other = (merged(adapters, found, weights=w) for w in ([1, 2, 3], [10, 20, 30]))
        assert worst(one, other) < 1e-11
        assert worst(merged(adapters, found, weights="sum"), merged(adapters, found)) < 1e-11
        assert "did you mean" not in caplog.text

    def test_a_scale_multiplies_the_whole(self):
        adapters, _, found = trio(5)
        twice = {name: 2 * delta for name, delta in merged(adapters, found).items()}
        assert worst(merged(adapters, found, scale=2), twice) < 1e-11

    def test_an_adapter_of_no_weight_and_one_subtracted(self):
        adapters, _, found = trio()
        without = merged(adapters[:2], found[:2], rank="max")
        assert worst(merged(adapters, found, weights=[1, 1, 0], rank="max"), without) < 1e-9
        opposite = changed(adapters[2], lambda module: replace(module, scale=-module.scale))
        negative = [*found[:2], replace(found[2], adapter_hash=content_hash(opposite))]
        assert (
            worst(
                merged([*adapters[:2], opposite], negative, weights=[1, 1, -1], rank="max"),
                merged(adapters, found, rank="max"),
            )
            < 1e-9
        )

    def test_as_an_adapter_vanishes_the_merge_settles(self):
        """Its inputs have at most 100 times the say of another's: the limit exists and is far from nothing."""
        adapters, moments, _ = trio()
        results = []
        for factor in (1e-3, 1e-6, 1e-9, 0.0):
            small = changed(adapters[0], lambda module, factor=factor: replace(module, scale=factor * module.scale))
            pair = [small, adapters[1]]
            found = [statistics(ad, own, 30, str(i)) for i, (ad, own) in enumerate(zip(pair, moments, strict=False))]
            results.append(merged(pair, found, rank="max"))
        assert worst(results[2], results[3]) < 1e-6 < worst(results[0], results[3]) < 1e-1
        assert all(delta.norm() > 0.1 * updates(adapters[1])[name].norm() for name, delta in results[3].items())

    def test_an_adapter_that_lacks_a_module_takes_no_part_there(self):
        adapters, _, found = trio(5)
        less = changed(adapters[0], only=["a"])
        own = replace(found[0], layers={"a": found[0].layers["a"]}, adapter_hash=content_hash(less))
        result = merged([less, *adapters[1:]], [own, *found[1:]], rank="max")
        pair = merged(adapters[1:], found[1:], rank="max")
        assert max(relative(result[name], pair[name]) for name in ("b", "c")) < 1e-10
        assert relative(result["a"], merged(adapters, found, rank="max")["a"]) < 1e-10

    def test_balance_truncation_and_weights_of_modules(self):
        adapters, moments, found = trio()
        balanced = merged(adapters, found, rank="max", balance=True)
        norms = [sum(float(d.square().sum()) for d in updates(ad).values()) ** 0.5 for ad in adapters]
        gains = [sum(norms) / len(norms) / norm for norm in norms]
        even = [
            changed(ad, lambda m, g=g: replace(m, scale=g * m.scale)) for ad, g in zip(adapters, gains, strict=True)
        ]
        again = [statistics(ad, own, 30, str(i)) for i, (ad, own) in enumerate(zip(even, moments, strict=True))]
        assert worst(balanced, merged(even, again, rank="max")) < 1e-10
        own = merged(adapters, found, rank="max", module_weights={"^b$": [0, 3, 0]})
        assert relative(own["b"], updates(adapters[1])["b"]) < 1e-10
        assert relative(own["a"], merged(adapters, found, rank="max")["a"]) < 1e-10
        assert merged(adapters, found, truncate=2).keys() == own.keys()


class TestPlainModules:
    def test_modules_without_statistics_are_merged_as_ever_and_named_once(self, caplog):
        adapters, _, found = trio(5)
        less = [replace(own, layers={"a": own.layers["a"]}) for own in found]
        with caplog.at_level(logging.WARNING):
            result = lorafold.merge(adapters, calibration=less, rank=6)
        assert [record.getMessage() for record in caplog.records if "statistics" in record.getMessage()] == [
            "2 of 3 modules have no statistics of every adapter and are merged as without calibration: b, c"
        ]
        assert [*result.adapter.modules] == [*SHAPES]
        found_updates, whole = updates(result.adapter), merged(adapters, found, rank=6)
        assert relative(found_updates["a"], whole["a"]) < 1e-12
        plain = updates(lorafold.merge(adapters, rank=6, weights=[0.2, 0.5, 0.3]).adapter)
        again = updates(lorafold.merge(adapters, rank=6, weights=[0.2, 0.5, 0.3], calibration=less).adapter)
        assert max(relative(again[name], plain[name]) for name in ("b", "c")) < 1e-12
        assert [module["calibrated"] for module in result.metrics()["modules"]] == [True, False, False]
        assert result.metrics()["summary"]["calibration"]["modules"] == 1

    def test_inputs_that_are_all_zero_are_no_statistics(self, caplog):
        adapters, moments, _ = trio()
        nothing = [{name: torch.zeros_like(C) for name, C in own.items()} for own in moments]
        found = [statistics(*both, 4, str(i)) for i, both in enumerate(zip(adapters, nothing, strict=True))]
        result = lorafold.merge(adapters, calibration=found)
        assert "3 of 3 modules" in caplog.text
        assert worst(updates(result.adapter), updates(lorafold.merge(adapters).adapter)) < 1e-12

    def test_biases_and_additive_tensors_are_the_mean(self):
        adapters, _, found = trio(5)
        source = Source(5)
        adapters = [replace(ad, deltas={"d": source.normal(3)}) for ad in adapters]
        merged_adapter = lorafold.merge(adapters, calibration=found, weights=[1, 1, 2]).adapter
        want = sum(w * ad.deltas["d"] for w, ad in zip((0.25, 0.25, 0.5), adapters, strict=True))
        assert torch.allclose(merged_adapter.deltas["d"], want)


QKV, PROJ = "lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_double_blocks_0_img_attn_proj"


class TestOtherFormats:
    """Of Flux, whose query, key and value are one layer in kohya's files and three in diffusers'."""

    def known(self, shared_down: bool = False) -> tuple[list[Adapter], list[Statistics]]:
        shapes = {QKV: (18, 6), PROJ: (6, 6)}
        adapters = [random_adapter("kohya", shapes, 2, seed=i) for i in (1, 2)]
        if shared_down:
            down = adapters[1].modules[QKV].down
            adapters[1] = changed(adapters[1], lambda module: replace(module, down=down))
        source, found = Source(9), []
        for i, adapter in enumerate(adapters):
            moments = {name: random_moment(source, 6) for name in shapes}
            found.append(statistics(adapter, moments, 6, f"{i}"))
        return adapters, found

    def as_parts(self, adapter: Adapter, found: Statistics) -> tuple[Adapter, Statistics]:
        """In diffusers' names, with statistics of its own: those of the whole."""
        other = convert(adapter, "diffusers")
        layers = {name: found.layers[PROJ if "to_out" in name else QKV] for name in other.modules}
        return other, replace(found, layers=layers, adapter_hash=content_hash(other))

    @pytest.mark.parametrize("first", ["parts", "whole"])
    def test_parts_and_the_whole_read_one_input(self, first, caplog):
        adapters, found = self.known()
        want = lorafold.merge(adapters, calibration=found, rank="max").adapter
        want = convert(want, "diffusers") if first == "parts" else want
        pairs = list(zip(adapters, found, strict=True))
        which = 0 if first == "parts" else 1
        pairs[which] = self.as_parts(*pairs[which])
        result = lorafold.merge([a for a, _ in pairs], calibration=[s for _, s in pairs], rank="max")
        assert "have no statistics" not in caplog.text
        assert worst(updates(result.adapter), updates(want)) < 1e-9

    def test_where_down_does_not_tell_which_layer_it_is_nothing_is_known(self, caplog):
        adapters, found = self.known(shared_down=True)
        first = self.as_parts(adapters[0], found[0])
        result = lorafold.merge([first[0], adapters[1]], calibration=[first[1], found[1]], rank="max")
        assert "4 of 4 modules have no statistics" in caplog.text
        plain = lorafold.merge([first[0], adapters[1]], rank="max")
        assert worst(updates(result.adapter), updates(plain.adapter)) < 1e-9


class TestRefusals:
    def refused(self, adapters: Sequence[Adapter], **settings: object) -> str:
        with pytest.raises(LorafoldError) as refusal:
            lorafold.merge(adapters, **settings)
        return str(refusal.value)

    def test_statistics_of_another_adapter(self):
        adapters, _, found = trio(5)
        said = self.refused(adapters, calibration=[found[1], found[0], found[2]])
        assert said.startswith("the statistics #1 are not the statistics of #1: they belong to #2.") and "order" in said
        foreign = replace(found[1], adapter_hash="0")
        assert "they belong to none of these adapters" in self.refused(
            adapters, calibration=[found[0], foreign, found[2]]
        )

    def test_the_same_inputs_for_two_adapters(self):
        adapters, _, found = trio(5)
        same = [replace(own, corpus_hash="one") for own in found]
        assert "two adapters were given the same inputs" in self.refused(adapters, calibration=same)

    def test_other_numbers_and_kinds(self, tmp_path):
        adapters, _, found = trio(5)
        assert "names 2 files of statistics, but there are 3 adapters" in self.refused(adapters, calibration=found[:2])
        assert "expected a list of files" in self.refused(adapters, calibration=[1, 2, 3])
        assert "expected a list of files" in self.refused(adapters, calibration=5)
        assert "nowhere" in self.refused(adapters, calibration=[str(tmp_path / "nowhere")] * 3)
        wrong = replace(found[0], layers={"a": replace(found[0].layers["a"], diagonal=-found[0].layers["a"].diagonal)})
        assert "negative second moment" in self.refused(adapters, calibration=[wrong, *found[1:]])
        short = replace(found[0], layers={"a": found[0].layers["c"]})
        assert "18 inputs, but the module has 30" in self.refused(adapters, calibration=[short, *found[1:]])

    def test_settings_that_contradict_it(self):
        adapters, _, found = trio(5)
        calibrated = {"name": "chordal", "reconstruction": "calibrated"}
        each = {"name": "chordal", "reconstruction": "each"}
        assert "without calibration=" in self.refused(adapters, objective=calibrated)
        assert "reconstruction=each with calibration=" in self.refused(adapters, objective=each, calibration=found)
        assert "ridge=0.1 without calibration=" in self.refused(adapters, ridge=0.1)
        for ridge in (0, -1, float("nan"), "much"):
            assert "expected a number above 0" in self.refused(adapters, ridge=ridge, calibration=found)
        assert worst(merged(adapters, found, objective=calibrated), merged(adapters, found)) == 0

    def test_different_bases_are_warned_of(self, caplog):
        adapters, _, found = trio(5)
        lorafold.merge(adapters, calibration=[replace(found[0], base="other"), *found[1:]])
        assert "different base models: other, base" in caplog.text


def test_a_shared_initialisation_has_a_larger_ridge():
    shapes = {f"m{i}": (24, 40) for i in range(8)}
    adapters, _, found = trio(5, shapes)
    assert lorafold.merge(adapters, calibration=found).metrics()["summary"]["calibration"] == {
        "modules": 8,
        "ridge": 0.01,
        "shared_initialisation": [],
    }
    source = Source(9)

    def begun_alike(module: Module) -> Module:
        start = adapters[1].modules[module.name].down[: module.rank]
        return replace(module, down=start + 0.1 * source.normal(*start.shape))

    alike = changed(adapters[2], lambda module: replace(module, up=module.up[:, :3], down=module.down[:3]))
    alike = changed(alike, begun_alike)
    again = [*found[:2], replace(found[2], adapter_hash=content_hash(alike))]
    result = lorafold.merge([*adapters[:2], alike], calibration=again)
    assert result.metrics()["summary"]["calibration"] == {"modules": 8, "ridge": 0.1, "shared_initialisation": [[1, 2]]}


class Largest(TorchFunctionMode):
    """The most numbers that any tensor has which is made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


def test_no_matrix_of_n_times_n_is_formed():
    n, k = 4096, 16
    source = Source(1)
    adapters = [random_adapter("kohya", {"a": (64, n)}, 8, seed=i) for i in range(2)]
    found = []
    for i, adapter in enumerate(adapters):
        sizes, Q = torch.linspace(9, 1, k, dtype=torch.float64), source.haar(n, k)
        layer = replace(layer_statistics(torch.eye(2, dtype=torch.float64), 1), energy=1.0)
        layer = replace(layer, diagonal=1 + (Q.square() * sizes).sum(-1), directions=Q, eigenvalues=sizes)
        found.append(Statistics({"a": layer}, content_hash(adapter), str(i), "base", 60))
    with Largest() as largest:
        lorafold.merge(adapters, calibration=found, rank=8)
    assert n * k <= largest.numbers < n * n / 8
