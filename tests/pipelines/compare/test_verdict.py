"""The sentences: which one is said, and that it names what it rests on."""

from __future__ import annotations

import pytest

from lorafold.pipelines.compare.verdict import read_pair, shared_initialisation, verdict


def side(phi, chance, significant, p):
    return {"phi": phi, "chance": chance, "significant": significant, "tested": 36, "p_combined": p}


def pair(*, cosine=0.0001, spread=0.0004, inside=0.0005, left=None, right=None, detected=False, ratio=0.5):
    return {
        "pair": [0, 2],
        "cosine": cosine,
        "cosine_null_sd": spread,
        "cosine_shared_sd": inside,
        "agreeing": 20,
        "norm_ratio": ratio,
        "in_sum": [cosine * ratio, cosine / ratio],
        "left": left or side(0.021, 0.0208, 0, 0.41),
        "right": right or side(0.02, 0.0208, 1, 0.73),
        "shared_initialisation": {
            "detected": detected,
            "modules": 36,
            "right_above_left": 35 if detected else 4,
            "p": 5e-10 if detected else 1.0,
            "right_significant": 34,
        },
    }


SHARED = side(0.42, 0.0208, 36, 0.0)
APART = pair()
UNSIGNED = pair(left=SHARED, cosine=0.001)
AGREEING = pair(left=SHARED, right=SHARED, cosine=0.12)
OPPOSING = pair(left=SHARED, right=SHARED, cosine=-0.12)
NOTHING = pair(left={**SHARED, "tested": 0, "p_combined": None})


@pytest.mark.parametrize(
    ("numbers", "expected", "sentence", "named"),
    [
        (APART, "nearly orthogonal", "Nearly orthogonal", ["0.41", "0.73", "+0.0001", "(0.0004)", "a sum keeps both"]),
        (UNSIGNED, "shared, no common sign", "without a common sign", ["< 1e-99", "+0.001", "4.5 times", "0.0004"]),
        (AGREEING, "agreeing", "with agreeing sign", ["+0.12", "300 times", "0.0004", "20 of 36", "reinforcement"]),
        (
            OPPOSING,
            "opposing",
            "with opposing sign",
            ["-0.12", "300 times", "cancellation", "-6 % of #1", "-24 % of #3"],
        ),
    ],
    ids=["apart", "unsigned", "agreeing", "opposing"],
)
def test_what_to_expect_and_why(numbers, expected, sentence, named):
    assert verdict(numbers, 0.05) == expected
    overlap, expectation, *_ = read_pair(numbers, 0.05)
    assert all(word in overlap for word in ("(0.021 by chance)", "of 36 modules", "Holm, alpha 0.05"))
    assert sentence in expectation
    assert all(word in expectation for word in named)


def test_alpha_decides():
    """4 spreads are beyond 1 / sqrt(0.1) = 3.2 of them, and within 1 / sqrt(0.01) = 10 of them."""
    numbers = pair(left=SHARED, cosine=0.0016)
    assert [verdict(numbers, alpha) for alpha in (0.1, 0.01)] == ["agreeing", "shared, no common sign"]
    assert [verdict(pair(left=side(0.03, 0.02, 2, 0.02)), alpha) for alpha in (0.05, 0.01)] == [
        "shared, no common sign",
        "nearly orthogonal",
    ]


@pytest.mark.parametrize(("inside", "doubted"), [(0.02, False), (0.04, True)])
def test_a_sign_that_the_subspaces_alone_may_give_is_doubted(inside, doubted):
    numbers = pair(left=SHARED, cosine=0.12, inside=inside)
    assert verdict(numbers, 0.05) == "agreeing" + "?" * doubted
    _, expectation, *_ = read_pair(numbers, 0.05)
    assert (f"{inside:.1g}" in expectation and "may be chance" in expectation) == doubted


def test_sizes_are_compared():
    sizes = read_pair(pair(ratio=28.46), 0.05)[2]
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
