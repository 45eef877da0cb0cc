"""What a run returns to the sweeper."""

from __future__ import annotations

import math

import pytest

from lorafold.commands.merge.score import check_score, score_of
from lorafold.common.errors import LorafoldError

METRICS = {
    "summary": {
        "phi": {"left": [0.5, 0.7], "right": [0.1, None]},
        "retained": [0.9, None, 0.3],
        "reconstruction_error": 0.25,
    },
    "modules": [{"rank": 2, "shape": [3, 4]}, {"rank": 1, "shape": [10, 5]}],
    "evaluation": {"accuracy": 0.8, "phi": 7.0, "loss": math.nan},
}
PLAIN = {key: value for key, value in METRICS.items() if key != "evaluation"}


@pytest.mark.parametrize(
    ("name", "value"), [("phi", 1.3 / 3), ("error", 0.25), ("retained", 0.3), ("parameters", 2 * 7 + 15)]
)
def test_scores_of_a_merge(name, value):
    assert score_of([name], PLAIN) == pytest.approx(value)


def test_several_scores_are_a_tuple_and_none_is_none():
    assert score_of(check_score(["error", "retained"], False), PLAIN) == (0.25, 0.3)
    assert score_of(check_score(None, False), PLAIN) is None


def test_the_evaluator_comes_first():
    assert score_of(["accuracy", "phi"], METRICS) == (0.8, 7.0)


@pytest.mark.parametrize(("name", "message"), [("f1", "no 'f1'"), ("loss", "'loss' is nan")])
def test_what_the_evaluator_does_not_know(name, message):
    with pytest.raises(LorafoldError, match=message):
        score_of([name], METRICS)


@pytest.mark.parametrize("score", ["fhi", ["error", "fhi"], 3, [3], {"a": 1}], ids=str)
def test_unknown_scores_are_refused(score):
    with pytest.raises(LorafoldError, match="score"):
        check_score(score, evaluated=False)


def test_with_an_evaluator_any_name_may_come():
    assert check_score("f1", evaluated=True) == ["f1"]
