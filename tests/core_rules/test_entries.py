"""Rules for entries: against their papers' formulas, entry by entry, and against PEFT on equal terms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.core_rules._sign_election import agreeing
from tests.builders import Source
from tests.core_rules.applying import apply, bound, uniform
from tests.core_rules.entry_oracles import ORACLES

CASES = [
    ("magnitude", {"density": 0.2}),
    ("magnitude", {"density": 0.55}),
    ("magnitude", {"density": 0.001}),
    ("ties", {"density": 0.3, "elect": "weighted"}),
    ("ties", {"density": 0.3, "elect": "unweighted"}),
    ("ties", {"density": 1.0, "elect": "weighted"}),
    ("dare", {"density": 0.5}),
    ("dare_ties", {"density": 0.4, "elect": "weighted"}),
    ("dare_ties", {"density": 0.4, "elect": "unweighted"}),
    ("della", {"density": 0.5, "epsilon": 0.3, "elect": "weighted"}),
    ("della", {"density": 0.5, "epsilon": 0.3, "elect": "unweighted"}),
    ("breadcrumbs", {"density": 0.5, "gamma": 0.1}),
    ("breadcrumbs", {"density": 0.9, "gamma": 0.3}),
    ("breadcrumbs", {"density": 0.5, "gamma": 0.0}),
    ("sce", {"density": 1.0}),
    ("sce", {"density": 0.3}),
]
S = Source(3)
CORES = {
    "random": S.normal(1, 3, 6, 6),
    "equal magnitudes": S.normal(1, 3, 6, 6).sign() * (S.normal(1, 3, 6, 6) > -0.5),
    "cancelling entries": torch.stack([X := S.normal(1, 6, 6), -X, 0 * X], 1),
    "identical": torch.stack([X, X, X], 1),
    "one number each": S.normal(1, 3, 1, 1),
    "one adapter": S.normal(1, 1, 5, 5),
}
WEIGHTS = {"mean": [1 / 3] * 3, "equal": [1.0] * 3, "unequal": [0.7, 0.2, 0.5], "signed": [1.0, -0.4, 0.6]}


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value))
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("cores", CORES.values(), ids=CORES)
def test_the_papers_formula(name, options, weights, cores):
    weights, noise = weights[: cores.shape[1]], uniform(cores)
    found = apply(bound(name, **options), cores, torch.tensor([weights], dtype=torch.float64), noise)[0]
    expected = ORACLES[name]([*cores[0].numpy()], weights, noise[0].numpy(), **options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("density", [0.2, 0.5])
class TestPeft:
    """The functions that `add_weighted_adapter` calls, on the same matrices and, where they are random, masks."""

    weights = torch.tensor([0.7, -0.2, 0.5], dtype=torch.float64)

    @pytest.fixture
    def utils(self):
        pytest.importorskip("peft")
        from peft.utils import merge_utils

        return merge_utils

    @pytest.fixture
    def masked(self, monkeypatch, density):
        """torch.bernoulli draws what `uniform` does, adapter by adapter."""
        draws = iter((uniform(CORES["random"])[0] < density).double())
        monkeypatch.setattr(torch, "bernoulli", lambda _: next(draws))

    def ours(self, name, **options):
        return apply(bound(name, **options), CORES["random"], self.weights[None])[0]

    def test_magnitude_prune(self, utils, density):
        theirs = utils.magnitude_prune([*CORES["random"][0]], self.weights, density)
        torch.testing.assert_close(self.ours("magnitude", density=density), theirs, rtol=0, atol=1e-15)

    def test_ties(self, utils, density):
        theirs = utils.ties([*CORES["random"][0]], self.weights, density)
        torch.testing.assert_close(self.ours("ties", density=density, elect="unweighted"), theirs, rtol=0, atol=1e-15)

    def test_ties_of_equal_weights_does_not_depend_on_the_election(self, utils, density):
        theirs = utils.ties([*CORES["random"][0]], torch.ones(3).double(), density)
        ours = apply(bound("ties", density=density), CORES["random"], torch.full((1, 3), 0.2, dtype=torch.float64))[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-15)

    @pytest.mark.usefixtures("masked")
    def test_dare_linear(self, utils, density):
        theirs = utils.dare_linear([*CORES["random"][0]], self.weights, density)
        torch.testing.assert_close(self.ours("dare", density=density), theirs, rtol=0, atol=1e-14)

    @pytest.mark.usefixtures("masked")
    def test_dare_ties(self, utils, density):
        theirs = utils.dare_ties([*CORES["random"][0]], self.weights, density)
        torch.testing.assert_close(
            self.ours("dare_ties", density=density, elect="unweighted"), theirs, rtol=0, atol=1e-14
        )


@pytest.mark.parametrize("name", ["dare", "della"])
def test_dropping_keeps_the_expectation(name):
    """The mean over many draws; of one adapter, in which no election interferes."""
    cores = Source(4).normal(1, 1, 3, 3)
    draws = torch.rand(40000, 1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    merged = apply(bound(name), cores.expand(40000, -1, -1, -1), torch.ones(40000, 1).double(), draws)
    assert float((merged.mean(0) - cores[0, 0]).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("core", "message"),
    [
        ({"name": "ties", "density": 0.0}, "core.density=0.0, expected a number above 0 and at most 1"),
        ({"name": "magnitude", "density": 1.5}, "core.density=1.5, expected"),
        ({"name": "dare", "density": float("nan")}, "core.density=nan, expected"),
        ({"name": "sce", "density": -1}, "core.density=-1.0, expected"),
        ({"name": "ties", "elect": "never"}, "core.elect='never' is unknown. Choose one of weighted, unweighted"),
        ({"name": "dare_ties", "elect": "peft"}, "core.elect='peft' is unknown"),
        ({"name": "della", "density": 0.8, "epsilon": 0.3}, "core.epsilon=0.3 with core.density=0.8, expected"),
        ({"name": "della", "density": 0.2, "epsilon": 0.2}, "Choose a smaller epsilon"),
        ({"name": "breadcrumbs", "gamma": 1.0}, "core.gamma=1.0, expected a number >= 0 and below 1"),
        ({"name": "dare", "noise": 1}, "unknown option core.noise"),
    ],
)
def test_mistakes_in_options_are_named_before_any_file_is_read(core, message):
    with pytest.raises(LorafoldError, match=message):
        lorafold.merge(["no such file"], core=core)


@pytest.mark.parametrize(("left", "sign"), [(3e-12, 1), (-3e-12, -1), (1e-12, 0), (-1e-16, 0)])
def test_what_rounding_may_have_left_has_no_sign(left, sign):
    """Entries cancel below 1e-12 of the sum of their sizes, here 2."""
    terms = torch.tensor([1.0, -1.0 + left], dtype=torch.float64).view(1, 2, 1, 1)
    assert agreeing(terms).flatten().tolist() == [sign > 0, sign < 0]
