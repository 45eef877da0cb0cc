"""Every rule on random cores: its formula, and what all rules have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lorafold import core_rules
from lorafold.core_rules import CORE_RULES
from lorafold.options import choices
from tests.builders import Source

CORES = Source(0).normal(5, 3, 4, 4)
WEIGHTS = torch.tensor(
    [[0.7, 0.2, 0.1], [1.0, 1.0, 1.0], [2.0, -1.0, 0.5], [0.0, 0.0, 3.0], [-1.0, -1.0, -1.0]]
).double()
RULES = pytest.mark.parametrize("rule", CORE_RULES.values(), ids=CORE_RULES)


def test_every_rule_has_a_file_of_options_and_the_other_way_round():
    assert sorted(CORE_RULES) == choices("core")
    files = {path.stem for path in Path(core_rules.__file__).parent.glob("_[a-z]*.py")} - {"_registry"}
    assert {f"_{name}" for name in CORE_RULES} == files


@pytest.mark.parametrize(
    ("name", "weight"),
    [("sum", lambda w: w), ("mean", lambda w: [x / sum(map(abs, w)) for x in w])],
)
def test_formula(name, weight):
    merged = CORE_RULES[name](CORES, WEIGHTS)
    for row in range(5):
        factors = weight(WEIGHTS[row].tolist())
        expected = sum(factor * core for factor, core in zip(factors, CORES[row], strict=True))
        torch.testing.assert_close(merged[row], expected, rtol=0, atol=1e-14)


@RULES
@pytest.mark.parametrize("order", [[1, 0, 2], [2, 1, 0], [1, 2, 0]])
def test_the_order_of_the_adapters_does_not_count(rule, order):
    torch.testing.assert_close(rule(CORES[:, order], WEIGHTS[:, order]), rule(CORES, WEIGHTS), rtol=0, atol=1e-14)


@RULES
def test_one_adapter_at_weight_one_is_itself(rule):
    torch.testing.assert_close(rule(CORES[:, :1], torch.ones(5, 1).double()), CORES[:, 0], rtol=0, atol=0)


@RULES
def test_an_adapter_of_weight_zero_does_not_count(rule):
    silent = WEIGHTS * torch.tensor([1.0, 1.0, 0.0])
    torch.testing.assert_close(rule(CORES, silent), rule(CORES[:, :2], WEIGHTS[:, :2]), rtol=0, atol=1e-14)


@RULES
def test_an_absent_adapter_changes_nothing_but_the_weights_of_a_mean(rule):
    absent = CORES * torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    present = rule(CORES[:, :2], WEIGHTS[:, :2])
    total, rest = WEIGHTS.abs().sum(1), WEIGHTS[:, :2].abs().sum(1)
    factor = (rest / total if rule is CORE_RULES["mean"] else torch.ones(5))[:, None, None]
    torch.testing.assert_close(rule(absent, WEIGHTS), factor * present, rtol=0, atol=1e-14)


@RULES
def test_a_turned_frame_turns_the_result(rule):
    """Cores are coordinates: UQ and VP instead of U and V turn them, and the merged core alike."""
    Q, P = Source(1).haar(5, 4, 4), Source(2).haar(5, 4, 4)
    turned = Q.mT[:, None] @ CORES @ P[:, None]
    torch.testing.assert_close(rule(turned, WEIGHTS), Q.mT @ rule(CORES, WEIGHTS) @ P, rtol=0, atol=1e-13)


@RULES
def test_nothing_gives_nothing(rule):
    assert bool((rule(0 * CORES, WEIGHTS) == 0).all())
    assert bool((rule(CORES, 0 * WEIGHTS) == 0).all())
