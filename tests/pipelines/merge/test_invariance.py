"""What must not matter to a merge: factors, order, scales, threads; at a tolerance that determines ΔW to 1e-6."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

import lorafold
from tests.builders import DEMO, changed, demo, random_adapter
from tests.builders import one_thread as one_thread
from tests.demo_pair import FEW, NAMES, TIGHT, WEIGHTS, change, few, gauged, worst
from tests.oracles import updates


@pytest.mark.parametrize(
    "options",
    [
        {"rank": 16, "solver": TIGHT},
        {"rank": 32, "solver": TIGHT},
        {"rank": 32, "solver": TIGHT, "objective": "phi"},
        {"rank": 8, "solver": TIGHT, "objective": {"name": "chordal", "reconstruction": "each", "directions": 0.9}},
        {"rank": 8, "subspace_weight": 0},
        {"rank": 8, "reconstruction_weight": 0},
        {"rank": "max", "core": "mean"},
    ],
    ids=lambda options: " ".join(f"{key}={value}" for key, value in options.items() if value != TIGHT),
)
def test_neither_the_factors_nor_the_order_of_the_adapters_matters(options):
    first, second = few()
    plain = lorafold.merge([first, second], weights=WEIGHTS, **options)
    turned = lorafold.merge([gauged(first, 1), gauged(second, 2)], weights=WEIGHTS, **options)
    assert change(turned, plain) < 1e-5
    swapped = lorafold.merge([second, first], weights=WEIGHTS[::-1], **options)
    assert change(swapped, plain) < 1e-5


def test_whatever_the_factors_the_same_minimum_is_found():
    """At rank 16 sweeps of this module pass a saddle point; rounding must not decide whether they stay there."""
    pair = [changed(adapter, only=[FEW[-1]]) for adapter in demo()]
    values = []
    for seed in range(8):
        turned = [gauged(adapter, seed + 50 * i) for i, adapter in enumerate(pair)]
        result = lorafold.merge(turned, weights=WEIGHTS, rank=16, solver=TIGHT)
        values.append(result.metrics()["summary"]["objective"])
    assert max(values) - min(values) < 1e-9


def test_scale_and_alpha_move_between_the_factors():
    first, second = few()
    moved = changed(first, lambda m: replace(m, up=4 * m.up, down=m.down / 2, scale=m.scale / 2))
    one, other = (lorafold.merge([a, second], rank=16, solver=TIGHT) for a in (first, moved))
    assert change(other, one) < 1e-5


def test_weights_of_the_sum_scale_with_it():
    one, other = (lorafold.merge(few(), rank=16, weights=w, solver=TIGHT) for w in ([0.6, 0.4], [6, 4]))
    ten = {name: 10 * delta for name, delta in updates(one.adapter).items()}
    assert worst(other, ten.__getitem__) < 1e-5


@pytest.mark.parametrize("weights", [[1e-13, 1e-13], [1e13, 1e13]])
def test_also_by_very_much(weights):
    """Nothing is taken for the remains of a cancellation just because its weight is small."""
    one, other = (lorafold.merge(few(), rank="max", weights=w) for w in ([1, 1], weights))
    scaled = {name: weights[0] * delta for name, delta in updates(one.adapter).items()}
    assert worst(other, scaled.__getitem__) < 1e-6


@pytest.mark.parametrize("weight", [1e-13, 1e13])
def test_the_size_of_the_weights_is_none_of_the_means_concern(weight):
    one, other = (lorafold.merge(few(), rank="max", weights=w, core="mean") for w in ([1, 1], [weight, weight]))
    assert change(other, one) < 1e-6


def test_a_third_adapter_of_weight_zero_leaves_closed_forms_alone():
    extra = random_adapter("peft", {name: m.shape for name, m in few()[0].modules.items()}, 4)
    options = {"rank": 16, "subspace_weight": 0}
    one = lorafold.merge(few(), weights=WEIGHTS, **options)
    other = lorafold.merge([*few(), extra], weights=[*WEIGHTS, 0.0], **options)
    assert change(other, one) < 1e-6


def test_two_runs_give_the_same_bytes(tmp_path):
    files = []
    for run in ("one", "two"):
        folder = lorafold.save(lorafold.merge(DEMO, rank=16).adapter, tmp_path / run)
        files.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert files[0] == files[1]


def test_so_do_more_threads():
    one = lorafold.merge(DEMO, rank=16)
    torch.set_num_threads(2)
    other = lorafold.merge(DEMO, rank=16)
    for name in NAMES:
        a, b = one.adapter.modules[name], other.adapter.modules[name]
        assert torch.equal(a.up, b.up) and torch.equal(a.down, b.down)


def test_threads_elsewhere_are_left_alone():
    """torch keeps one number for threads to come."""
    torch.set_num_threads(2)
    lorafold.merge(DEMO, rank=4)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 2
