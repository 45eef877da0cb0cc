"""`scale=` in the pipeline: a number, or a choice from the adapters alone; and the file has the numbers it says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.scales import SCALES
from tests.builders import DEMO, Source, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.demo_pair import change, gauged
from tests.oracles import relative, updates

SHAPES = {"a": (20, 15), "b": (14, 30)}
WEIGHTS = [0.7, -0.3, 0.5]
OPTIONS = {"weights": WEIGHTS, "rank": 6, "subspace_weight": 0}
EVERY = pytest.mark.parametrize("scale", SCALES)


def trio() -> list[lorafold.Adapter]:
    scales = {4: 0.5, 3: 1.0, 5: 2.0}
    return [random_adapter("peft", SHAPES, r, seed=r, scale=s) for r, s in scales.items()]


def dense(scale: str, inputs: list[dict], merged: dict) -> float:
    """λ from whole updates as vectors; ŵ_i are those of weights that are the same in all modules."""
    vectors = [torch.cat([of[name].flatten() for name in SHAPES]) for of in (*inputs, merged)]
    *X, W = vectors
    shares = [abs(w) / sum(map(abs, WEIGHTS)) for w in WEIGHTS]
    energies, size = [float(x @ x) for x in X], float(W @ W)
    signed = [math.copysign(1, w) * float(W @ x) for w, x in zip(WEIGHTS, X, strict=True)]
    fit = sum(h * p / e for h, p, e in zip(shares, signed, energies, strict=True))
    target = sum(w * x for w, x in zip(WEIGHTS, X, strict=True))
    kept = [kept_energy(of, merged) for of in inputs]
    return {
        "max_norm": math.sqrt(max(energies) / size),
        "mean_norm": math.sqrt(sum(h * e for h, e in zip(shares, energies, strict=True)) / size),
        "retained": math.sqrt(sum(h * k for h, k in zip(shares, kept, strict=True)) / size),
        "each": fit / sum(h * size / e for h, e in zip(shares, energies, strict=True)),
        "presence": 1 / fit,
        "target": float(W @ target) / size,
    }[scale]


def kept_energy(of: dict, merged: dict) -> float:
    """Σ ‖UUᵀΔW_iVVᵀ‖² with the singular vectors of the merged updates, of rank 6."""
    total = 0.0
    for name, delta in of.items():
        U, _, Vt = torch.linalg.svd(merged[name])
        total += float((U[:, :6].T @ delta @ Vt[:6].T).square().sum())
    return total


@EVERY
@pytest.mark.parametrize("core", ["sum", "iso_c", {"name": "ties", "density": 0.5}], ids=str)
def test_the_merge_is_the_plain_one_times_lambda_of_the_dense_formula(core, scale):
    plain = updates(lorafold.merge(trio(), core=core, **OPTIONS).adapter)
    found = lorafold.merge(trio(), core=core, scale=scale, **OPTIONS)
    expected = dense(scale, [updates(adapter) for adapter in trio()], plain)
    assert found.scale == found.metrics()["summary"]["scale"] == pytest.approx(expected, rel=1e-9)
    for name, delta in updates(found.adapter).items():
        assert relative(delta, expected * plain[name]) < 1e-9


@EVERY
@pytest.mark.parametrize("core", ["sum", "tsv", "wudi", "dare"])
def test_inputs_c_times_as_large_give_c_times_the_merge(core, scale):
    larger = [changed(adapter, lambda m: replace(m, scale=9 * m.scale)) for adapter in trio()]
    one, other = (lorafold.merge(adapters, core=core, scale=scale, **OPTIONS) for adapters in (trio(), larger))
    assert other.scale == pytest.approx(one.scale, rel=1e-9)
    nine = {name: 9 * delta for name, delta in updates(one.adapter).items()}
    assert max(relative(delta, nine[name]) for name, delta in updates(other.adapter).items()) < 1e-9


@EVERY
def test_neither_factors_nor_order_matter(scale):
    one = lorafold.merge(trio(), scale=scale, **OPTIONS)
    turned = lorafold.merge([gauged(a, i) for i, a in enumerate(trio())], scale=scale, **OPTIONS)
    swapped = lorafold.merge(trio()[::-1], scale=scale, **{**OPTIONS, "weights": WEIGHTS[::-1]})
    assert change(turned, one) < 1e-8 and change(swapped, one) < 1e-8


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_numbers_are_rounded_as_those_of_the_same_number(dtype):
    chosen = lorafold.merge(trio(), scale="max_norm", dtype=dtype, **OPTIONS)
    given = lorafold.merge(trio(), scale=chosen.scale, dtype=dtype, **OPTIONS)
    for name, module in chosen.adapter.modules.items():
        for one, other in zip((module.up, module.down), factors(given, name), strict=True):
            assert one.dtype == other.dtype == getattr(torch, dtype)
            assert float((one.double() - other.double()).abs().max()) <= torch.finfo(one.dtype).eps * float(
                other.abs().max()
            )
            assert (one != other).double().mean() < 1e-2  # a second rounding, but for little


def test_a_small_merge_in_16_bits_is_scaled_before_it_is_rounded():
    """1e-12 of an update is below the smallest float16; a number that brings it back must find it."""
    tiny = [1e-12 * w for w in WEIGHTS]
    given = updates(lorafold.merge(trio(), **OPTIONS).adapter)
    options = {**OPTIONS, "weights": tiny, "dtype": "float16"}
    found = lorafold.merge(trio(), scale="max_norm", **options)
    for name, delta in updates(found.adapter).items():
        assert relative(delta, 1e-12 * found.scale * given[name]) < 2e-3


def factors(result: lorafold.MergeResult, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    module = result.adapter.modules[name]
    return module.up, module.down


def test_biases_and_additive_tensors_are_scaled_as_well():
    source = Source(0)
    biased = [changed(a, lambda m: replace(m, bias=source.normal(m.shape[0]))) for a in trio()]
    added = [replace(a, format="kohya", deltas={"d": source.normal(5)}) for a in trio()]
    for adapters in (biased, added):
        plain, found = (lorafold.merge(adapters, scale=scale, **OPTIONS) for scale in (1.0, "each"))
        assert abs(found.scale - 1) > 0.01
        for name, module in found.adapter.modules.items():
            if module.bias is not None:
                torch.testing.assert_close(module.bias, found.scale * plain.adapter.modules[name].bias)
        for key, delta in found.adapter.deltas.items():
            torch.testing.assert_close(delta, found.scale * plain.adapter.deltas[key])


def test_errors_are_measured_against_the_sum_of_the_same_strength():
    plain, found = (lorafold.merge(trio(), scale=scale, **OPTIONS).metrics()["modules"] for scale in (1.0, "each"))
    for one, other in zip(plain, found, strict=True):
        assert other["reconstruction_error"] == pytest.approx(one["reconstruction_error"], rel=1e-9)
        assert other["retained"] == pytest.approx(one["retained"], rel=1e-9)


@EVERY
def test_what_cancels_stays_nothing(scale):
    result = lorafold.merge([trio()[0]] * 2, weights=[0.7, -0.7], rank="max", scale=scale)
    assert result.scale == 1.0
    assert not any(bool(delta.any()) for delta in updates(result.adapter).values())


def test_a_strength_that_would_turn_the_merge_round_is_refused():
    """X - 3X points away from X, and resembles -3X by less than that: every adapter for itself, -0.6 would be best."""
    first = trio()[0]
    opposite = changed(first, lambda m: replace(m, scale=-3 * m.scale))
    with pytest.raises(LorafoldError, match=r"points away from the adapters.*would be -0\.6\. Give a number"):
        lorafold.merge([first, opposite], weights=[0.5, 0.5], rank="max", scale="each")


def test_one_adapter_is_itself_whatever_the_scale():
    for scale in SCALES:
        result = lorafold.merge([trio()[2]], rank="max", scale=scale)
        assert result.scale == pytest.approx(1, rel=1e-9)
        for name, delta in updates(result.adapter).items():
            assert relative(delta, updates(trio()[2])[name]) < 1e-9


def test_two_runs_give_the_same_numbers():
    one, other = (lorafold.merge(DEMO, rank=4, scale="each", balance=True) for _ in range(2))
    assert one.scale == other.scale and one.gains == other.gains
    for name in one.adapter.modules:
        assert all(map(torch.equal, factors(one, name), factors(other, name)))
