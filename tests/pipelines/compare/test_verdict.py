"""The sentences: which one is said, and that it names what it rests on."""

from __future__ import annotations

import pytest

from lorafold.pipelines.compare.verdict import read_pair, shared_initialisation, verdict


def side(phi, median, effect, p, beyond=0, decided=36):
    return {
        "phi": phi,
        "null_phi": phi,
        "null_median": median,
        "effect": effect,
        "p": p,
        "decided": decided,
        "beyond_null": beyond,
        "tested": 36,
        "random": 0.0208,
        "beyond_random": 35,
    }


def pair(*, cosine=0.0017, spread=0.0004, inside=0.0005, left=None, detected=False, ratio=0.5, kind="panel", n=20):
    return {
        "pair": [0, 2],
        "cosine": cosine,
        "cosine_null_sd": spread,
        "cosine_shared_sd": inside,
        "agreeing": 20,
        "norm_ratio": ratio,
        "in_sum": [cosine * ratio, cosine / ratio],
        "null": {
            "kind": kind,
            "panel": 5 if kind == "panel" else 0,
            "draws": [n, n],
            "directions": [4, 8],
            "smallest_p": 1 / (1 + n),
        },
        "left": left or side(0.041, 0.0376, 0.4, 0.41),
        "right": side(0.02, 0.0208, -0.1, 0.73),
        "shared_initialisation": {
            "detected": detected,
            "modules": 36,
            "right_above_left": 35 if detected else 4,
            "p": 5e-10 if detected else 1.0,
            "right_beyond_random": 34,
        },
    }


SHARED = side(0.42, 0.0376, 12.3, 0.048, beyond=33)
NOTHING = pair(left={**SHARED, "tested": 0})


@pytest.mark.parametrize(
    ("cosine", "words", "named"),
    [
        (
            0.0017,
            "practically independent",
            ["+0.0017", "4.2 times", "in a plain sum +0.085 % of #1 and +0.34 % of #3"],
        ),
        (-0.049, "practically independent", ["-0.049"]),
        (0.12, "slightly agreeing", ["+0.12", "300 times", "20 of 36", "reinforcement"]),
        (-0.3, "opposing", ["-0.3", "cancellation", "-15 % of #1", "-60 % of #3"]),
        (0.5, "strongly agreeing", ["+0.5"]),
    ],
)
def test_a_cosine_is_named_by_its_size(cosine, words, named):
    numbers = pair(cosine=cosine)
    assert verdict(numbers, 0.05) == words
    expectation = read_pair(numbers, 0.05)[3]
    assert expectation.startswith(words.capitalize())
    assert all(word in expectation for word in named)


def test_beyond_chance_is_said_against_a_panel_and_nothing_else():
    assert verdict(pair(left=SHARED), 0.05) == "practically independent, subspaces shared beyond chance"
    for kind in ("mismatched layers", None):
        numbers = pair(left=SHARED, kind=kind)
        assert verdict(numbers, 0.05) == "practically independent"
        assert not any("beyond chance" in sentence.lower() for sentence in read_pair(numbers, 0.05))


def test_the_overlap_stands_beside_its_null_first_and_random_subspaces_after_it():
    overlap, decision, random, *_ = read_pair(pair(left=SHARED), 0.05)
    assert "4 to 8 leading directions" in overlap and "20 other pairs with the panel" in overlap
    assert "column spaces phi 0.420 beside 0.038, +12.3 times the spread, p 0.048" in overlap
    assert decision.startswith("Beyond chance in 33 (columns) and 0 (rows) of 36 modules")
    assert random.startswith("Random subspaces:") and "more in 35 and 35 of 36 modules (Holm, alpha 0.05)" in random
    assert read_pair(pair(kind=None), 0.05)[0].startswith("Random subspaces:")


@pytest.mark.parametrize(
    ("kind", "alpha", "words"),
    [
        ("panel", 0.05, "p >= 0.1 > alpha 0.05; it takes 5 in the panel."),
        ("panel", 0.01, "p >= 0.1 > alpha 0.01; it takes 13 in the panel."),
        ("mismatched layers", 0.05, "p >= 0.1 > alpha 0.05; it takes 20 layers of one shape; how much"),
    ],
)
def test_too_few_draws_decide_nothing(kind, alpha, words):
    numbers = pair(left=side(0.42, 0.03, 12, 0.1, decided=0), kind=kind, n=9)
    numbers["right"]["decided"] = 0
    assert f"cannot be decided with n = 9: {words}" in read_pair(numbers, alpha)[1]


def test_alpha_decides_on_doubt():
    """4 spreads are beyond 1 / sqrt(0.1) = 3.2 of them, and within 1 / sqrt(0.01) = 10 of them."""
    numbers = pair(cosine=0.2, spread=0.05, inside=0.01)
    assert [verdict(numbers, alpha) for alpha in (0.1, 0.01)] == ["agreeing", "agreeing?"]


@pytest.mark.parametrize(("inside", "doubted"), [(0.02, False), (0.04, True)])
def test_a_sign_that_the_subspaces_alone_may_give_is_doubted(inside, doubted):
    numbers = pair(cosine=0.12, inside=inside)
    assert verdict(numbers, 0.05) == "slightly agreeing" + "?" * doubted
    expectation = read_pair(numbers, 0.05)[3]
    assert (f"{inside:.1g}" in expectation and "may be chance" in expectation) == doubted


def test_sizes_are_compared():
    sizes = read_pair(pair(ratio=28.46), 0.05)[4]
    assert "#3 has 28 times the norm of #1" in sizes
    assert "0 % of the energy" in sizes


def test_a_shared_initialisation_is_a_warning():
    *_, yes = read_pair(pair(detected=True), 0.05)
    *_, no = read_pair(pair(), 0.05)
    assert yes.startswith("Warning")
    assert all(word in yes for word in ("35 of 36", "5e-10", "34 of 36", "column spaces"))
    assert no.startswith("No pattern of a shared initialisation")
    assert "4 of 36" in no


def test_without_a_module_in_common():
    assert verdict(NOTHING, 0.05) == "nothing in common"
    (sentence,) = read_pair(NOTHING, 0.05)
    assert "nothing to compare" in sentence and "side by side" in sentence


@pytest.mark.parametrize(
    ("significant", "tested", "p", "expected"),
    [
        (36, 36, 1e-9, True),
        (19, 36, 0.05, True),
        (18, 36, 1e-9, False),
        (36, 36, 0.06, False),
        (0, 0, None, False),
    ],
)
def test_the_pattern_of_a_shared_initialisation(significant, tested, p, expected):
    assert shared_initialisation(significant, tested, p, 0.05) == expected
