"""The alignment against dense float64: updates that stay, optimality, errors of averaging, degenerate modules."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.adapters.module import identical
from lorafold.common.errors import LorafoldError
from lorafold.core_space.balanced import Factors
from lorafold.pipelines.align.gauge import general_gauge, orthogonal_gauge
from tests.builders import DEMO, Source, changed, random_adapter, single
from tests.builders import one_thread as one_thread
from tests.oracles import relative, update
from tests.pipelines.align.align_cases import CASES, SHAPES, pair

GROUPS = ("orthogonal", "general")


def factors(module, rank=None):
    """Up (m, r) and down (r, n) with the scale inside, zero-padded to `rank`."""
    up, down = math.copysign(1, module.scale) * module.up.double(), module.down.double()
    more = (rank or module.rank) - module.rank
    root = math.sqrt(abs(module.scale))
    return root * torch.nn.functional.pad(up, (0, more)), root * torch.nn.functional.pad(down, (0, 0, 0, more))


def average_error(first, second):
    """Of averaging factors, dense."""
    rank = max(first.rank, second.rank)
    (B1, A1), (B2, A2) = factors(first, rank), factors(second, rank)
    return relative((B1 + B2) / 2 @ (A1 + A2) / 2, (update(first) + update(second)) / 2)


def mismatch(first, second):
    return (first.up - second.up).square().sum((-2, -1)) + (first.down - second.down).square().sum((-2, -1))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("case", CASES)
def test_the_updates_stay(case, group):
    inputs = CASES[case]()
    result = lorafold.align(inputs, group=group)
    for before, after in zip(inputs, result.adapters, strict=True):
        assert list(after.modules) == list(before.modules)
        for name, module in after.modules.items():
            delta = update(before.modules[name])
            assert relative(update(module), delta) < 1e-9
            assert module.scale == inputs[0].modules.get(name, before.modules[name]).scale
            if name in inputs[0].modules:
                assert module.rank == max(adapter.modules[name].rank for adapter in inputs if name in adapter.modules)


@pytest.mark.parametrize("mode", ["gauge", "subspace"])
@pytest.mark.parametrize("case", CASES)
def test_the_first_adapter_keeps_its_bits(case, mode):
    """Zeros may follow them."""
    inputs = CASES[case]()
    first = lorafold.align(inputs, mode=mode).adapters[0]
    assert [*first.modules] == [*inputs[0].modules]
    for name, module in first.modules.items():
        own = inputs[0].modules[name]
        assert module.scale == own.scale
        assert torch.equal(module.up[:, : own.rank], own.up) and torch.equal(module.down[: own.rank], own.down)
        assert not module.up[:, own.rank :].any() and not module.down[own.rank :].any()


def test_what_the_first_adapter_lacks_stays_as_it_is():
    inputs = CASES["missing modules"]()
    assert identical(lorafold.align(inputs).adapters[1].modules["c"], inputs[1].modules["c"])


def test_the_updates_of_float32_and_float16_files_stay():
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        inputs = [random_adapter("kohya", SHAPES, rank, seed=rank, dtype=dtype) for rank in (3, 4)]
        result = lorafold.align(inputs, group="general")
        assert {module.up.dtype for module in result.adapters[0].modules.values()} == {dtype}
        for name, module in result.adapters[1].modules.items():
            assert module.up.dtype == module.down.dtype == torch.float32
            assert relative(update(module), update(inputs[1].modules[name])) < 1e-6
        assert max(result.metrics()["summary"]["change"]) < 1e-6


@pytest.mark.parametrize("group", GROUPS)
def test_the_shipped_pair_keeps_its_updates(group):
    inputs = [lorafold.load(path) for path in DEMO]
    result = lorafold.align(inputs, group=group)
    for before, after in zip(inputs, result.adapters, strict=True):
        worst = max(relative(update(module), update(before.modules[name])) for name, module in after.modules.items())
        assert worst < 1e-6
    (found,) = result.metrics()["summary"]["pairs"]
    assert found["converged"] == found["modules"] == 36


@pytest.mark.parametrize(("one", "two"), [(4, 4), (4, 2), (2, 4)])
def test_no_other_gauge_matches_better(one, two):
    """Neither a random orthogonal matrix nor a small rotation of the solution; nor, of GL(r), a small change of it."""
    source = Source(3)

    def random(rank):
        return Factors(*(torch.nn.functional.pad(source.normal(3, 12, rank), (0, 4 - rank)) for _ in range(2)))

    first, second = random(one), random(two)
    for group, gauge in (("orthogonal", orthogonal_gauge), ("general", general_gauge)):
        best = gauge(first, second)
        moved = second.times(best.right, best.left)
        torch.testing.assert_close(moved.update(), second.update(), rtol=1e-9, atol=1e-9)
        changes = []
        for size in (1e-3, 1e-2, 0.1):
            for _ in range(5):
                E = size * source.normal(4, 4)
                changes.append(torch.linalg.matrix_exp(E if group == "general" else E - E.T))
        if group == "orthogonal":
            changes += [source.haar(4, 4) for _ in range(20)]
        for G in changes:
            other = moved.times(G, torch.linalg.inv(G))
            assert bool((mismatch(first, other) >= best.mismatch * (1 - 1e-9)).all())


@pytest.mark.parametrize("case", CASES)
def test_the_general_gauge_matches_at_least_as_well_and_converges(case):
    """But where updates differ by eight orders of magnitude: cond G ends at its limit there, and the result says so."""
    inputs = CASES[case]()
    results = [lorafold.align(inputs, group=group).metrics()["summary"]["pairs"] for group in GROUPS]
    for orthogonal, general in zip(*results, strict=True):
        assert general["mismatch"] <= orthogonal["mismatch"] * (1 + 1e-12)
        assert general["condition"] <= 1e4
        assert (general["converged"] == general["modules"]) == (case != "very different sizes")


@pytest.mark.parametrize("case", CASES)
def test_the_error_of_averaging_factors(case):
    """As the dense formula has it, of the files and of what was written."""
    inputs = CASES[case]()
    for group in GROUPS:
        result = lorafold.align(inputs, group=group)
        for entry in result.metrics()["modules"]:
            for found in entry["pairs"]:
                name, (i, j) = entry["name"], found["pair"]
                before, after = ([a[k].modules[name] for k in (i, j)] for a in (inputs, result.adapters))
                if not float((update(before[0]) + update(before[1])).abs().sum()):
                    assert found["averaging_error"]["files"] is None
                    continue
                assert found["averaging_error"]["files"] == pytest.approx(average_error(*before), rel=1e-9, abs=1e-9)
                assert found["averaging_error"][group] == pytest.approx(average_error(*after), rel=1e-9, abs=1e-9)


def regauged(adapter, source):
    def turn(module):
        G = source.conditioned(module.rank, module.rank, 30.0)
        return replace(module, up=module.up @ G, down=torch.linalg.solve(G, module.down))

    return changed(adapter, turn)


@pytest.mark.parametrize("group", GROUPS)
def test_the_same_adapter_in_another_gauge_gets_the_same_factors(group):
    first = random_adapter("kohya", SHAPES, 4, seed=1, scale=-0.5)
    result = lorafold.align([first, regauged(first, Source(5))], group=group)
    one, two = result.adapters
    for name, module in one.modules.items():
        assert relative(two.modules[name].up, module.up) < 1e-7
        assert relative(two.modules[name].down, module.down) < 1e-7
    (found,) = result.metrics()["summary"]["pairs"]
    assert found["averaging_error"]["files"] > 0.1
    assert found["averaging_error"][group] < 1e-6
    assert max(average_error(one.modules[name], two.modules[name]) for name in SHAPES) < 1e-6


def procrustes_error(first, second):
    """Of averaging balanced factors after Procrustes, dense."""
    rank = max(first.rank, second.rank)
    (X1, Y1), (X2, Y2) = (split(update(module), rank) for module in (first, second))
    U, _, Vt = torch.linalg.svd(X2.T @ X1 + Y2.T @ Y1)
    return relative((X1 + X2 @ U @ Vt) / 2 @ ((Y1 + Y2 @ U @ Vt) / 2).T, (update(first) + update(second)) / 2)


def split(delta, rank):
    U, S, Vt = torch.linalg.svd(delta)
    root = S[:rank].sqrt()
    return U[:, :rank] * root, Vt[:rank].T * root


@pytest.mark.parametrize("case", ["equal ranks", "second lower", "second higher", "first negative", "three adapters"])
def test_the_original_of_the_first_is_matched_as_well_as_if_both_were_balanced(case):
    """In whatever gauge the files are; and in no module worse than by the files themselves."""
    inputs = CASES[case]()
    turned = [regauged(adapter, Source(7 + i)) for i, adapter in enumerate(inputs)]
    for adapters in (inputs, turned):
        result = lorafold.align(adapters)
        for name in SHAPES:
            first = adapters[0].modules[name]
            for before, after in zip(adapters[1:], result.adapters[1:], strict=True):
                error = average_error(first, after.modules[name])
                assert error <= procrustes_error(first, before.modules[name]) + 1e-7
                assert error <= average_error(first, before.modules[name]) + 1e-7


def test_adapters_of_one_initialisation_stay_near_each_other():
    """Their row spaces agree as they are: balanced factors would be matched worse."""
    first, other = pair((4, 4))
    small = changed(first, lambda m: replace(m, up=0.01 * m.up))
    sibling = changed(other, lambda m: replace(m, up=0.01 * m.up, down=first.modules[m.name].down + 0.1 * m.down))
    (found,) = lorafold.align([small, sibling]).metrics()["summary"]["pairs"]
    assert found["averaging_error"]["orthogonal"] <= found["averaging_error"]["files"] < 0.1
    assert max(procrustes_error(small.modules[name], sibling.modules[name]) for name in SHAPES) > 0.2
    Q = Source(3).haar(4, 4)
    turned = changed(sibling, lambda m: replace(m, up=m.up @ Q, down=Q.mT @ m.down))
    (turned_back,) = lorafold.align([small, turned]).metrics()["summary"]["pairs"]
    assert turned_back["averaging_error"]["orthogonal"] < 0.1 < turned_back["averaging_error"]["files"]


def test_what_belongs_to_an_adapter_is_carried():
    bias = torch.arange(4.0)
    first = single(torch.eye(4)[:, :2], torch.ones(2, 3), form="peft")
    second = single(torch.eye(4)[:, 1:3], torch.ones(2, 3), 0.5, form="peft", bias=bias)
    second = replace(second, extras={"head": torch.ones(2)}, config={"base_model_name_or_path": "base"})
    result = lorafold.align([first, second]).adapters[1]
    assert torch.equal(result.modules["a"].bias, 0.5 * bias)  # the scale is that of the first now
    assert torch.equal(result.extras["head"], torch.ones(2))
    assert result.config == second.config


def test_a_total_is_that_of_all_modules_as_one_matrix():
    inputs = pair((3, 4))
    result = lorafold.align(inputs).metrics()
    entries = [entry["pairs"][0] for entry in result["modules"]]
    squares = sum((entry["averaging_error"]["orthogonal"] * entry["norm"]) ** 2 for entry in entries)
    expected = math.sqrt(squares / sum(entry["norm"] ** 2 for entry in entries))
    assert result["summary"]["pairs"][0]["averaging_error"]["orthogonal"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "of_all"),
    [
        ({"group": "general"}, dict(gradient=max, steps=max, condition=max, mismatch=math.fsum, converged=sum)),
        ({"mode": "subspace"}, dict(raised=sum)),
    ],
)
def test_a_total_names_the_worst_and_counts_all(changes, of_all):
    metrics = lorafold.align(pair((3, 4)), **changes).metrics()
    (total,), entries = metrics["summary"]["pairs"], [entry["pairs"][0] for entry in metrics["modules"]]
    for key, of in of_all.items():
        assert len({entry[key] for entry in entries}) > 1 or of is sum
        assert total[key] == pytest.approx(of(entry[key] for entry in entries)), key


@pytest.mark.parametrize(
    ("adapters", "changes", "message"),
    [
        (lambda: pair()[:1], {}, "at least two"),
        (pair, {"mode": "gauges"}, "'gauge'"),
        (pair, {"group": "generl"}, "'general'"),
        (lambda: [pair()[0], single(torch.ones(3, 2), torch.ones(2, 3))], {}, "3 x 3"),
        (lambda: [pair()[0], changed(pair()[1], lambda m: replace(m, up=m.up / 0))], {}, "Inf|NaN|finite"),
    ],
    ids=["one", "mode", "group", "shape", "not finite"],
)
def test_mistakes(adapters, changes, message):
    with pytest.raises(LorafoldError, match=message):
        lorafold.align(adapters(), **changes)


def test_a_convolution_keeps_its_kernel():
    source = Source(2)
    convolutions = [
        Adapter("kohya", {"c": Module("c", source.normal(6, 2), source.normal(2, 18), 1.0, (3, 3), kind="conv")})
        for _ in range(2)
    ]
    for adapter in lorafold.align(convolutions).adapters:
        assert (adapter.modules["c"].kernel, adapter.modules["c"].kind) == ((3, 3), "conv")
