"""Rules in the pipeline: the gauge in which they work, their noise, and what does not depend on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.options import choice
from lorafold.pipelines.merge import combine
from tests.builders import Source, changed, random_adapter, single
from tests.builders import one_thread as one_thread
from tests.core_rules.entry_oracles import ORACLES
from tests.demo_pair import change, few, gauged
from tests.oracles import relative, updates

SHAPES = {"a": (20, 15), "b": (14, 30)}
WEIGHTS = [0.7, -0.3, 0.5]
RANKS = (4, 3, 5)
RULES = pytest.mark.parametrize("core", ORACLES)


def trio() -> list[lorafold.Adapter]:
    scales = (0.5, 1.0, 2.0)
    return [random_adapter("kohya", SHAPES, r, seed=r, scale=s) for r, s in zip(RANKS, scales, strict=True)]


def rotations(matrices: list[np.ndarray], r: int) -> np.ndarray:
    """The leading eigenvectors of Σ MMᵀ."""
    return np.linalg.eigh(sum(M @ M.T for M in matrices))[1][:, ::-1][:, :r]


@RULES
def test_in_the_joint_span_it_is_the_rule_in_the_basis_of_the_higher_order_svd(core):
    """From dense matrices alone: nothing of core space, solver or gauge enters the expectation."""
    adapters, r = trio(), sum(RANKS)
    found = updates(lorafold.merge(adapters, weights=WEIGHTS, core=core, rank="max", seed=3).adapter)
    options = {key: value for key, value in choice("core", core).items() if key != "name"}
    for name in SHAPES:
        deltas = [updates(adapter)[name].numpy() for adapter in adapters]
        U, V = rotations(deltas, r), rotations([delta.T for delta in deltas], r)
        noise = combine.noise([name], (3, r, r), 3)[0].numpy()
        merged = ORACLES[core]([U.T @ delta @ V for delta in deltas], WEIGHTS, noise, **options)
        assert relative(found[name], torch.from_numpy(U @ merged @ V.T)) < 1e-8


@RULES
@pytest.mark.parametrize("options", [{"rank": "max"}, {"rank": 8, "subspace_weight": 0}, {"rank": 8}], ids=str)
def test_the_factors_do_not_matter(core, options):
    first, second = few()
    one = lorafold.merge([first, second], weights=[0.6, 0.4], core=core, **options)
    other = lorafold.merge([gauged(first, 1), gauged(second, 2)], weights=[0.6, 0.4], core=core, **options)
    assert change(other, one) < 1e-4


@RULES
def test_opposite_weights_cancel(core):
    """Of whatever sort the entries are: random rules drop others of the second adapter, so they must keep all."""
    adapter = trio()[0]
    options = {"name": core, "density": 1.0} | ({"epsilon": 0.0} if core == "della" else {})
    found = lorafold.merge([adapter, adapter], weights=[0.7, -0.7], core=options, rank="max").adapter
    assert all(not bool(delta.any()) for delta in updates(found).values())


@RULES
def test_an_adapter_of_weight_zero_does_not_turn_the_gauge(core):
    adapters = trio()
    two = lorafold.merge(adapters[:2], weights=WEIGHTS[:2], core=core, rank=7, subspace_weight=0)
    three = lorafold.merge(adapters, weights=[*WEIGHTS[:2], 0.0], core=core, rank=7, subspace_weight=0)
    assert change(three, two) < 1e-6


def test_noise_is_that_of_the_module_whatever_is_merged_beside_it():
    adapters = trio()
    options = {"weights": WEIGHTS, "core": "dare", "rank": 6, "subspace_weight": 0, "seed": 1}
    whole = updates(lorafold.merge(adapters, **options).adapter)
    for name in SHAPES:
        alone = updates(lorafold.merge([changed(a, only=[name]) for a in adapters], **options).adapter)
        assert relative(alone[name], whole[name]) < 1e-12


def test_noise_depends_on_the_seed_and_on_the_name():
    def draw(name: str, seed: int):
        return combine.noise([name], (3, 4, 4), seed)

    assert torch.equal(draw("a", 0), draw("a", 0))
    for other in (draw("b", 0), draw("a", 1)):
        assert not bool((other == draw("a", 0)).any())
    drawn = combine.noise([str(i) for i in range(100)], (2, 10, 10), 0)
    assert drawn.dtype == torch.float64 and float(drawn.min()) >= 0 and float(drawn.max()) < 1
    assert abs(float(drawn.mean()) - 0.5) < 0.01


def test_the_seed_decides_what_is_dropped():
    options = {"weights": WEIGHTS, "core": "dare", "rank": 6, "subspace_weight": 0}
    one, same, other = (lorafold.merge(trio(), seed=seed, **options) for seed in (0, 0, 1))
    assert change(same, one) == 0 and change(other, one) > 0.1


def test_the_canonical_gauge_diagonalises_both_sums():
    cores = Source(0).normal(4, 3, 5, 5)
    P, Q = combine.canonical_gauge(cores)
    turned = P.mT[:, None] @ cores @ Q[:, None]
    for gram in ((turned @ turned.mT).sum(1), (turned.mT @ turned).sum(1)):
        size = gram.diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(gram, torch.diag_embed(size), rtol=0, atol=1e-12)
        assert bool((size.diff(dim=-1) <= 0).all())
    for frame in (P, Q):
        assert bool((frame.amax(-2) == frame.abs().amax(-2)).all())  # the sign


def test_biases_are_averaged_where_the_rule_averages():
    S = Source(0)
    up, down, biases = S.normal(20, 4), S.normal(4, 15), [S.normal(20), S.normal(20)]
    adapters = [single(up, down, form="peft", bias=bias) for bias in biases]
    for core, factor in (("magnitude", 1.0), ("ties", 1 / 4)):
        module = lorafold.merge(adapters, weights=[3, -1], core=core, rank=4).adapter.modules["a"]
        torch.testing.assert_close(module.bias, factor * (3 * biases[0] - biases[1]))


def test_modules_that_only_one_adapter_has():
    """The other's zeros take part in no election."""
    first, second, _ = trio()
    lone = replace(second, modules={"c": second.modules["a"]})
    found = updates(lorafold.merge([first, lone], core={"name": "ties", "density": 1.0}, rank="max").adapter)
    assert relative(found["c"], updates(second)["a"]) < 1e-9
    assert relative(found["b"], updates(first)["b"]) < 1e-9
