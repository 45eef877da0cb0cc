"""What all rules have in common, on random cores; and the linear ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lorafold
from lorafold import core_rules
from lorafold.common.errors import LorafoldError
from lorafold.common.options import choices
from lorafold.core_rules import CORE_RULES
from tests.builders import Source, random_adapter
from tests.core_rules.applying import apply, bound, uniform

CORES = Source(0).normal(5, 3, 4, 4)
WEIGHTS = torch.tensor(
    [[0.7, 0.2, 0.1], [1.0, 1.0, 1.0], [2.0, -1.0, 0.5], [0.0, 0.0, 3.0], [-1.0, -1.0, -1.0]]
).double()
BOUND = {name: rule for name in choices("core") if not (rule := bound(name)).whole}


def rules(which=lambda rule: True):
    """Parametrises a test by the rules of which this is true."""
    found = {name: rule for name, rule in BOUND.items() if which(rule)}
    return pytest.mark.parametrize("rule", found.values(), ids=found)


RULES = rules()
# a minimum that is come to in many steps, from one side or another
ROUNDING = {"quotient": 1e-7}
LINEAR = pytest.mark.parametrize("rule", [bound("sum"), bound("mean")], ids=["sum", "mean"])
# at options that keep all entries, the rules that give one adapter at weight 1 back
IDENTITIES = {
    "core_ties": {"density": 1.0},
    "sum": {},
    "mean": {},
    "magnitude": {"density": 1.0},
    "ties": {"density": 1.0},
    "dare": {"density": 1.0},
    "dare_ties": {"density": 1.0},
    "della": {"density": 1.0, "epsilon": 0.0},
    "breadcrumbs": {"density": 1.0},
    "sce": {"density": 0.5},
    "peft_linear": {},
    "kohya_add": {},
}


def test_every_rule_has_a_file_of_options_and_one_of_its_own():
    assert sorted(CORE_RULES) == choices("core")
    files = {path.stem for path in Path(core_rules.__file__).parent.glob("[a-z]*.py")}
    for name, rule in CORE_RULES.items():
        assert rule.name == name and name in files
        assert rule.function.__module__ == f"lorafold.core_rules.{name}"


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


@rules(lambda rule: rule.name != "np_lora")  # in which one is the subject and the other the style
@pytest.mark.parametrize("order", [[1, 0, 2], [2, 1, 0], [1, 2, 0]])
def test_the_order_of_the_adapters_does_not_count(rule, order):
    """With the noise of a random rule staying with its adapter."""
    noise = uniform(CORES)
    order = [i for i in order if i < (rule.adapters or 3)]
    permuted = apply(rule, CORES[:, order], WEIGHTS[:, order], noise[:, order])
    expected = apply(rule, CORES, WEIGHTS, noise)
    torch.testing.assert_close(permuted, expected, rtol=0, atol=ROUNDING.get(rule.name, 1e-12))


@RULES
def test_modules_do_not_know_of_each_other(rule):
    noise = uniform(CORES)
    together = apply(rule, CORES, WEIGHTS, noise)
    for row in range(5):
        one = slice(row, row + 1)
        torch.testing.assert_close(apply(rule, CORES[one], WEIGHTS[one], noise[one]), together[one], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", IDENTITIES)
def test_one_adapter_at_weight_one_is_itself(name):
    merged = apply(bound(name, **IDENTITIES[name]), CORES[:, :1], torch.ones(5, 1).double())
    torch.testing.assert_close(merged, CORES[:, 0], rtol=0, atol=1e-13)


@RULES
def test_an_adapter_of_weight_zero_does_not_count(rule):
    silent = WEIGHTS * torch.tensor([1.0, 1.0, 0.0])
    noise = uniform(CORES)
    two = apply(rule, CORES[:, :2], WEIGHTS[:, :2], noise[:, :2])
    torch.testing.assert_close(apply(rule, CORES, silent, noise), two, rtol=0, atol=1e-12)


@LINEAR
def test_an_absent_adapter_changes_nothing_but_the_weights_of_a_mean(rule):
    absent = CORES * torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    present = rule(CORES[:, :2], WEIGHTS[:, :2])
    total, rest = WEIGHTS.abs().sum(1), WEIGHTS[:, :2].abs().sum(1)
    factor = (rest / total if rule.name == "mean" else torch.ones(5))[:, None, None]
    torch.testing.assert_close(rule(absent, WEIGHTS), factor * present, rtol=0, atol=1e-14)


@rules(lambda rule: rule.name != "quotient")  # of full rank it starts at a fork; see its own test
def test_a_turned_frame_turns_the_result_unless_the_rule_is_one_for_entries(rule):
    """Cores are coordinates: UQ and VP instead of U and V turn them, and the merged core alike."""
    Q, P = Source(1).haar(5, 4, 4), Source(2).haar(5, 4, 4)
    turned = apply(rule, CORES, WEIGHTS, turn=(Q, P))
    follows = torch.allclose(turned, Q.mT @ apply(rule, CORES, WEIGHTS) @ P, rtol=0, atol=1e-11)
    assert follows is not rule.elementwise


@rules(lambda rule: rule.elementwise)
def test_signs_of_the_frames_move_through(rule):
    """The canonical gauge leaves the signs of the basis vectors open, so they must not matter."""
    left, right = torch.tensor([1.0, -1, 1, -1]).double(), torch.tensor([-1.0, -1, 1, 1]).double()
    turned = apply(rule, CORES, WEIGHTS, turn=(torch.diag(left).expand(5, 4, 4), torch.diag(right).expand(5, 4, 4)))
    expected = left[:, None] * right * apply(rule, CORES, WEIGHTS)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-13)


@RULES
def test_nothing_gives_nothing(rule):
    assert bool((apply(rule, 0 * CORES, WEIGHTS) == 0).all())
    assert bool((apply(rule, CORES, 0 * WEIGHTS) == 0).all())


@RULES
@pytest.mark.parametrize("size", [1e-13, 1e13])
def test_the_size_of_the_weights_does_not_matter_to_what_averages_and_to_nothing_else(rule, size):
    one, other = apply(rule, CORES, size * WEIGHTS), apply(rule, CORES, WEIGHTS)
    assert torch.allclose(one, other, rtol=1e-7, atol=1e-5) is rule.averages


@RULES
def test_ranks_that_differ_are_refused_where_factors_are_added(rule):
    pair = [random_adapter("kohya", {"a": (9, 8), "b": (7, 9)}, {"a": 2, "b": rank}, seed=rank) for rank in (2, 3)]
    if rule.name in ("peft_linear", "kohya_add", "robustmerge"):
        with pytest.raises(LorafoldError, match=f"b: ranks 2, 3, but core={rule.name}"):
            lorafold.merge(pair, rank="max", core=rule.name)
    else:
        assert lorafold.merge(pair, rank="max", core=rule.name).adapter.modules.keys() == {"a", "b"}


def test_coefficients_of_numbers_that_have_no_core():
    weights = torch.tensor([1.0, -3.0]).double()
    for name in ("sum", "magnitude", "dare", "breadcrumbs", "peft_linear", "kohya_add"):
        assert CORE_RULES[name].coefficients(weights).tolist() == [1.0, -3.0]
    for name in ("mean", "ties", "dare_ties", "della", "sce"):
        assert CORE_RULES[name].coefficients(weights).tolist() == [0.25, -0.75]
    assert CORE_RULES["mean"].coefficients(0 * weights).tolist() == [0.0, 0.0]
